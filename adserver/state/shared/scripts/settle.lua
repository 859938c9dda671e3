-- Behind person.lua: what became of an ad, each told once. Further KEYS: 5 what was told (zset by time).
--
-- ARGV: 2 what it is (confirm | count | release), 3 event id, 4 the event's kind, 5 at, 6 the most times a
-- counter keeps, 7 for how long the same is known when it is told again,
-- 8 number of counters: name, keep, which (1 | 2) each.
-- Returns 1, or 0 where it was told before (or, for a release, nothing was outstanding).

sweep()
local what, id = ARGV[2], ARGV[3]

if what == 'release' then
  local was = release(id)
  write()
  -- What is proposed may come after it was withdrawn, by a slower way: then it is not granted (admit.lua).
  if not was then
    redis.call('ZADD', KEYS[5], now, id)
    last_for(KEYS[5], tonumber(ARGV[7]))
  end
  return was and 1 or 0
end

if redis.call('ZADD', KEYS[5], 'NX', now, id .. ARGV[4]) == 0 then
  write()
  return 0
end
redis.call('ZREMRANGEBYSCORE', KEYS[5], '-inf', now - tonumber(ARGV[7]))
last_for(KEYS[5], tonumber(ARGV[7]))
if what == 'confirm' then release(id) end
for i = 9, 8 + 3 * tonumber(ARGV[8]), 3 do
  count(KEYS[tonumber(ARGV[i + 2])], ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[5]), tonumber(ARGV[6]))
end
write()
return 1
