-- Behind person.lua: what one worker alone knows of a person goes into a generation that is being made. Workers
-- know of different exposures, so what they add is added up.
--
-- KEYS 5: what was told (as for settle.lua). ARGV: 2 the most times a counter keeps, 3 who adds what, told once,
--   4 number of counters: name, keep, which (1 | 2), number of times, times ascending, each,
--   then number of outstanding exposures: event id, expiry, number of counters: name, which (1 | 2), each.
-- Returns 1, or 0 where it was added before.

if redis.call('ZADD', KEYS[5], 'NX', now, ARGV[3]) == 0 then return 0 end
last_for(KEYS[5], 3600000)
local at = 4
local function take()
  local value = ARGV[at]
  at = at + 1
  return value
end
local function number() return tonumber(take()) end

for _ = 1, number() do
  local name, keep, key = take(), number(), KEYS[number()]
  local found = counter(key, name)
  found[1] = math.max(found[1], keep)
  local times = {}
  for i = 3, #found do times[#times + 1] = found[i] end
  for _ = 1, number() do times[#times + 1] = number() end
  table.sort(times)
  local kept = {found[1], found[2]}
  for i = math.max(1, #times - tonumber(ARGV[2]) + 1), #times do kept[#kept + 1] = times[i] end
  counters[key][name] = kept
  touch(key, name, kept, kept[1])
end

for _ = 1, number() do
  local id, expires, packed = take(), number(), {}
  local new = redis.call('ZADD', KEYS[3], 'NX', expires, id) == 1
  for _ = 1, number() do
    local name, key = take(), KEYS[number()]
    packed[#packed + 1] = name
    packed[#packed + 1] = key
    if new then
      local found = counter(key, name)
      found[2] = found[2] + 1
      touch(key, name, found, found[1] + expires - now)
    end
  end
  if #packed > 0 then redis.call('HSET', KEYS[4], id, cmsgpack.pack(packed)) end
  last_for(KEYS[3], expires - now + SLACK)
  last_for(KEYS[4], expires - now + SLACK)
end
write()
return 1
