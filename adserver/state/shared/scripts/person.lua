-- What the scripts of one person share; it stands before each of them. Times and spans: milliseconds, of the
-- asking worker's clock.
--
-- KEYS of one person, all in one slot:
--   1 counters of the subject, 2 of the session   hash: name -> {keep, outstanding, t1 <= t2 <= ...}
--   3 exposures outstanding                       zset: event id by expiry
--   4 what they count in                          hash: event id -> {name, key, name, key, ...}
-- A counter is as in state/frequency.py, and what is full is decided as there; keep is the longest window
-- ever set on its name.

local SLACK = 60000
local now = tonumber(ARGV[1])
local counters, changed, lasting = {}, {}, {}

local fresh = {}

local function counter(key, name)
  local known = counters[key]
  if not known then
    known = {}
    counters[key] = known
  end
  local found = known[name]
  if not found then
    local packed = redis.call('HGET', key, name)
    if not packed then fresh[key] = true end
    found = packed and cmsgpack.unpack(packed) or {0, 0}
    known[name] = found
  end
  return found
end

-- To be written, and to last for another `for_ms` at least.
local function touch(key, name, found, for_ms)
  changed[key] = changed[key] or {}
  changed[key][name] = found
  if for_ms > (lasting[key] or 0) then lasting[key] = for_ms end
end

local function since(found, after)
  for i = 3, #found do
    if found[i] > after then return #found - i + 1 end
  end
  return 0
end

local function is_full(found, limit, per, after)
  if found[2] + #found - 2 < limit then return false end
  return found[2] + since(found, math.max(now - per, after)) >= limit
end

-- A key of an old session may be left with what no longer counts: it goes by its own expiry.
local function shift(key, name, by)
  local found = counter(key, name)
  found[2] = math.max(found[2] + by, 0)
  touch(key, name, found, found[1])
end

-- End an outstanding exposure; whether there was one.
local function release(id)
  if redis.call('ZREM', KEYS[3], id) == 0 then return false end
  local packed = redis.call('HGET', KEYS[4], id)
  redis.call('HDEL', KEYS[4], id)
  local counts = packed and cmsgpack.unpack(packed) or {}
  for i = 1, #counts, 2 do shift(counts[i + 1], counts[i], -1) end
  return true
end

local function sweep()
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', '(' .. ARGV[1])) do release(id) end
end

-- Add a confirmed time, and forget those that no window reaches any more.
local function count(key, name, keep, at, most)
  local found = counter(key, name)
  found[1] = math.max(found[1], keep)
  local over = #found - 2 - since(found, at - found[1])
  over = math.max(over, #found - 1 - most)
  if over > 0 then
    local kept = {found[1], found[2]}
    for i = 3 + over, #found do kept[#kept + 1] = found[i] end
    found = kept
    counters[key][name] = found
  end
  local last = found[#found]
  found[#found + 1] = (#found > 2 and last > at) and last or at
  touch(key, name, found, found[1])
end

local function last_for(key, for_ms)
  if redis.call('PTTL', key) < for_ms then redis.call('PEXPIRE', key, for_ms) end
end

local function write()
  for key, names in pairs(changed) do
    for name, found in pairs(names) do
      if found[2] == 0 and #found == 2 then
        redis.call('HDEL', key, name)
      else
        redis.call('HSET', key, name, cmsgpack.pack(found))
      end
    end
    last_for(key, lasting[key] + SLACK)
  end
  if next(changed) then
    -- Whoever counts what is outstanding must find it when it ends.
    local longest = math.max(redis.call('PTTL', KEYS[1]), redis.call('PTTL', KEYS[2]))
    last_for(KEYS[3], longest)
    last_for(KEYS[4], longest)
  end
  changed = {}
end

-- Counters nobody moved for longer than they look back are dropped where a person has gathered many.
local function prune(key, all)
  if #all < 128 then return end
  for i = 1, #all, 2 do
    local found = cmsgpack.unpack(all[i + 1])
    if found[2] == 0 and (#found == 2 or found[#found] <= now - found[1]) then
      redis.call('HDEL', key, all[i])
    end
  end
end

-- Of keys that have gained a counter.
local function prune_fresh()
  for key in pairs(fresh) do
    if redis.call('HLEN', key) >= 64 then prune(key, redis.call('HGETALL', key)) end
  end
end
