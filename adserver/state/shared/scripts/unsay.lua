-- A feed page that was agreed on was not answered: the account stands where it stood. KEYS: 1 the account.
-- ARGV: 1 the page, 2 as it would have been answered, 3 the page that was next (-1: there was no account),
-- 4 the track that was. Returns 1, or 0 where it is not the last page any more.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
if tonumber(redis.call('HGET', KEYS[1], 'next')) ~= tonumber(ARGV[1]) + 1 then return 0 end
if tonumber(ARGV[3]) < 0 then
  redis.call('DEL', KEYS[1])
else
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('HSET', KEYS[1], 'next', ARGV[3], 'track', ARGV[4])
end
return 1
