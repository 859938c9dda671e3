-- Behind known.lua: write a decision if every law allows it, all of it or nothing. Further KEYS: 7 what was told
-- (settle.lua).
--
-- ARGV behind known.lua's: 3 the most exposures a person may have outstanding,
--   4 the answer to the request id ('': none), 5 how long it is repeated,
--   6 number of ads, then for each: event id, expiry, whether it counts for the bound (1 | 0),
--     number of counters: name, keep, which (1 | 2) each; number of caps: name, limit, per, after, which each;
--   then 1 where the page asked for was laid out, else 0; with 1: the page expected next (-1: there is to be no
--     account), the page, track, idle, told.
-- Returns {1}, or {0, what of known()} where something stands against it.

local at = 6
local function take()
  local value = ARGV[at]
  at = at + 1
  return value
end
local function number() return tonumber(take()) end

sweep()
write()

local outstanding = redis.call('ZCARD', KEYS[3])
local most = tonumber(ARGV[3])
local lawful = ARGV[4] == '' or redis.call('EXISTS', KEYS[6]) == 0
local granted = {}

for _ = 1, number() do
  local id, expires, bounded, counts = take(), number(), take() == '1', {}
  for _ = 1, number() do
    local name, keep, key = take(), number(), KEYS[number()]
    counts[#counts + 1] = {key, name, keep}
  end
  if bounded and outstanding >= most or redis.call('ZSCORE', KEYS[7], id) then lawful = false end
  for _ = 1, number() do
    local name, limit, per, after, key = take(), number(), number(), number(), KEYS[number()]
    if lawful and is_full(counter(key, name), limit, per, after) then lawful = false end
  end
  if lawful then
    outstanding = outstanding + 1
    for _, counted in ipairs(counts) do
      local found = counter(counted[1], counted[2])
      found[1] = math.max(found[1], counted[3])
      found[2] = found[2] + 1
      touch(counted[1], counted[2], found, found[1] + expires - now)
    end
    granted[#granted + 1] = {id, expires, counts}
  end
end

local page = tonumber(ARGV[2])
local laid_out = take() == '1'
local expected, answered, track, idle, told
if laid_out then
  expected, answered, track, idle, told = number(), take(), take(), number(), take()
  local head = account(page)
  local next = head[1] and tonumber(head[1]) or -1
  if next ~= expected then lawful = false end
end

if not lawful then
  -- What was moved for the ads of this proposal is forgotten.
  counters, changed, lasting = {}, {}, {}
  return {0, known()}
end

local longest = 0
for _, ad in ipairs(granted) do
  local id, expires, packed = ad[1], ad[2], {}
  redis.call('ZADD', KEYS[3], expires, id)
  for _, counted in ipairs(ad[3]) do
    packed[#packed + 1] = counted[2]
    packed[#packed + 1] = counted[1]
  end
  if #packed > 0 then redis.call('HSET', KEYS[4], id, cmsgpack.pack(packed)) end
  longest = math.max(longest, expires - now)
end
if #granted > 0 then
  last_for(KEYS[3], longest + SLACK)
  last_for(KEYS[4], longest + SLACK)
end
write()
if laid_out then
  if expected < 0 then redis.call('DEL', KEYS[5]) end
  redis.call('HSET', KEYS[5], 'next', page + 1, 'track', track, 'idle', idle, 'touched', now, 'told', told,
    page, answered)
  last_for(KEYS[5], idle + SLACK)
end
if ARGV[4] ~= '' then redis.call('SET', KEYS[6], ARGV[4], 'PX', ARGV[5]) end
return {1}
