-- Behind known.lua: what is known, before anything is decided.
return known()
