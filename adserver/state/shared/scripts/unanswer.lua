-- An answer to a request id that was agreed on did not leave. KEYS: 1 the request id. ARGV: 1 the answer.
-- Returns 1, or 0 where the id was not answered so.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
return 1
