-- A feed account lives on. KEYS: 1 the account. ARGV: 1 now in milliseconds, 2 when the journal was last told.
local idle = redis.call('HGET', KEYS[1], 'idle')
if not idle then return 0 end
local touched = tonumber(redis.call('HGET', KEYS[1], 'touched'))
redis.call('HSET', KEYS[1], 'touched', math.max(touched, tonumber(ARGV[1])), 'told', ARGV[2])
redis.call('PEXPIRE', KEYS[1], tonumber(idle) + 60000)
return 1
