-- Behind known.lua: write a decision if every law allows it, all of it or nothing. Further KEYS: 7 what was told
-- (settle.lua).
--
-- ARGV behind known.lua's: 3 MessagePack (of which this one knows no bytes): {the most exposures a person may
--     have outstanding, how long an answer is repeated,
--     ads, each {expiry, whether it counts for the bound, {{counter, keep, which (1 | 2)}, ...},
--       {{counter, limit, per, after, which} of a cap, ...}},
--     {} or the page asked for as it was laid out: {the page expected next (-1: there is to be no account), idle,
--       told}},
--   4 the answer to the request id ('': none), 5 the page as it was answered, 6 its track,
--   7 and on: the ads' event ids.
-- Returns {1}, or {0, what of known()} where something stands against it.

local most, repeat_ms, ads, laid_out = unpack(cmsgpack.unpack(ARGV[3]))
local answer = ARGV[4]

sweep()
write()

local outstanding = redis.call('ZCARD', KEYS[3])
local lawful = answer == '' or redis.call('EXISTS', KEYS[6]) == 0

for i, ad in ipairs(ads) do
  local expires, bounded, counts, caps = unpack(ad)
  if bounded and outstanding >= most or redis.call('ZSCORE', KEYS[7], ARGV[6 + i]) then lawful = false end
  for _, cap in ipairs(caps) do
    local name, limit, per, after, key = unpack(cap)
    if lawful and is_full(counter(KEYS[key], name), limit, per, after) then lawful = false end
  end
  if not lawful then break end
  outstanding = outstanding + 1
  for _, counted in ipairs(counts) do
    local name, keep, key = counted[1], counted[2], KEYS[counted[3]]
    local found = counter(key, name)
    found[1] = math.max(found[1], keep)
    found[2] = found[2] + 1
    touch(key, name, found, found[1] + expires - now)
  end
end

local page = tonumber(ARGV[2])
local expected, idle, told = unpack(laid_out)
local before = ''
if lawful and expected then
  local head = account(page)
  lawful = (head[1] and tonumber(head[1]) or -1) == expected
  before = head[2] or ''
end

if not lawful then
  -- What was moved for the ads of this proposal is forgotten.
  counters, changed, lasting = {}, {}, {}
  return {0, known()}
end

local longest = 0
for i, ad in ipairs(ads) do
  local id, expires, packed = ARGV[6 + i], ad[1], {}
  redis.call('ZADD', KEYS[3], expires, id)
  for _, counted in ipairs(ad[3]) do
    packed[#packed + 1] = counted[1]
    packed[#packed + 1] = KEYS[counted[3]]
  end
  if #packed > 0 then redis.call('HSET', KEYS[4], id, cmsgpack.pack(packed)) end
  longest = math.max(longest, expires - now)
end
if #ads > 0 then
  last_for(KEYS[3], longest + SLACK)
  last_for(KEYS[4], longest + SLACK)
end
write()
prune_fresh()
if expected then
  if expected < 0 then redis.call('DEL', KEYS[5]) end
  redis.call('HSET', KEYS[5], 'next', page + 1, 'track', ARGV[6], 'idle', idle, 'touched', now, 'told', told,
    page, ARGV[5], 'was', expected, 'before', before)
  last_for(KEYS[5], idle + SLACK)
end
if answer ~= '' then redis.call('SET', KEYS[6], answer, 'PX', repeat_ms) end
return {1}
