-- What one worker knows of a feed account goes into a generation that is being made: pages of several workers
-- come together, and the account goes on where the furthest does. KEYS: 1 the account.
-- ARGV: 1 now, 2 next, 3 track, 4 idle, 5 touched, 6 told, then each page: its number, as it was answered.
local found = redis.call('HMGET', KEYS[1], 'next', 'touched')
if not found[1] or tonumber(found[1]) < tonumber(ARGV[2]) then
  redis.call('HSET', KEYS[1], 'next', ARGV[2], 'track', ARGV[3], 'idle', ARGV[4], 'told', ARGV[6])
end
redis.call('HSET', KEYS[1], 'touched', math.max(tonumber(found[2] or 0), tonumber(ARGV[5])))
for i = 7, #ARGV, 2 do redis.call('HSETNX', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('PEXPIRE', KEYS[1], math.max(tonumber(ARGV[5]) + tonumber(ARGV[4]) - tonumber(ARGV[1]), 0) + 60000)
return 1
