-- What is known of a person, behind person.lua. Further KEYS: 5 the feed account, 6 the request id.
-- ARGV 2: the feed page asked for, or -1.
--
-- {exposures outstanding, counters of the subject (flat), of the session (flat),
--  {next, track, idle, touched, told, page asked or '', last page or ''} or {}, answer to the request id or ''}

local function account(page)
  if page < 0 then return {} end
  local head = redis.call('HMGET', KEYS[5], 'next', 'track', 'idle', 'touched', 'told')
  if not head[1] or now - tonumber(head[4]) > tonumber(head[3]) then return {} end
  local pages = redis.call('HMGET', KEYS[5], page, tonumber(head[1]) - 1)
  return {head[1], head[2], head[3], head[4], head[5], pages[1] or '', pages[2] or ''}
end

local function known()
  sweep()
  write()
  local subject, session = redis.call('HGETALL', KEYS[1]), redis.call('HGETALL', KEYS[2])
  prune(KEYS[1], subject)
  prune(KEYS[2], session)
  return {
    redis.call('ZCARD', KEYS[3]), subject, session, account(tonumber(ARGV[2])),
    redis.call('GET', KEYS[6]) or '',
  }
end
