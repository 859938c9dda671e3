-- Begin another generation, once: whoever comes first. KEYS: 1 the generation ("x7": in force, "x7?": being
-- made), 2 the run of the server that it is of. ARGV: 1 the generation that was found ('': none), 2 the server's
-- run, 3 the name of the next. Returns the generation there is now.
local found = redis.call('GET', KEYS[1]) or ''
if found ~= ARGV[1] then return found end
redis.call('SET', KEYS[1], ARGV[3] .. '?')
redis.call('SET', KEYS[2], ARGV[2])
return ARGV[3] .. '?'
