-- Ask for a turn to call a processor's health endpoint; the rule is `call_turn` in domain/health.py.
-- KEYS: leader, health
-- ARGV: node, token, processor, pause in us, within how many us a reserved call leaves, for how many us the caller
-- does not trust what is kept here of when a call was made
-- Returns 0 when the call is ours; else after how many us to ask again, -1 when we do not lead.
local field, pause_us, leaves_us = 'called:' .. ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
if not leads(KEYS[1], ARGV[1], ARGV[2]) then
  return -1
end
local now = now_us()
local newest = tonumber(redis.call('HGET', KEYS[2], field))
if newest then
  if tonumber(ARGV[6]) > 0 then
    return tonumber(ARGV[6])
  end
  if newest > now + leaves_us then
    -- The clock was set back. One pause from now is enough, and not one pause from whenever we ask.
    newest = now
    redis.call('HSET', KEYS[2], field, text(now))
  end
  if newest + pause_us > now then
    return newest + pause_us - now
  end
end
redis.call('HSET', KEYS[2], field, text(now + leaves_us))
return 0
