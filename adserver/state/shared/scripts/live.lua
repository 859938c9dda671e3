-- A generation that is being made comes into force when every worker has added what it knows. KEYS: 1 the
-- generation, 2 those that have added (set). ARGV: 1 the generation as it was found ("x7?"), 2 as it is in force
-- ("x7"), 3 and on: the workers there are. Returns the generation.
local found = redis.call('GET', KEYS[1]) or ''
if found ~= ARGV[1] then return found end
for i = 3, #ARGV do
  if redis.call('SISMEMBER', KEYS[2], ARGV[i]) == 0 then return found end
end
redis.call('SET', KEYS[1], ARGV[2])
return ARGV[2]
