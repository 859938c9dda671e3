-- A feed page that was agreed on was not answered: the account stands where it stood. KEYS: 1 the account.
-- ARGV: 1 the page, 2 as it would have been answered. Returns 1, or 0 where it is not the last page any more.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
local next, was, before = unpack(redis.call('HMGET', KEYS[1], 'next', 'was', 'before'))
if tonumber(next) ~= tonumber(ARGV[1]) + 1 or not was then return 0 end
if tonumber(was) < 0 then
  redis.call('DEL', KEYS[1])
else
  redis.call('HDEL', KEYS[1], ARGV[1], 'was', 'before')
  redis.call('HSET', KEYS[1], 'next', was, 'track', before)
end
return 1
