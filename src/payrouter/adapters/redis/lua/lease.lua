-- Win the lease if it is free, renew it if it is ours.
-- KEYS: leader      ARGV: node, how long it lasts in us
-- Returns {1, token, now}; or {0, token, now, who has it, for how many us more}.
local node, lasts_us = ARGV[1], tonumber(ARGV[2])
local now = now_us()
local held = redis.call('HMGET', KEYS[1], 'node', 'until_us', 'token')
local until_us = tonumber(held[2] or 0)
if held[1] ~= node and until_us > now then
  -- No longer than one lease from now: the clock may have been set back since.
  if until_us > now + lasts_us then
    until_us = now + lasts_us
    redis.call('HSET', KEYS[1], 'until_us', text(until_us))
  end
  return { 0, tonumber(held[3]), now, held[1], until_us - now }
end
local token = tonumber(held[3])
if held[1] ~= node then
  token = redis.call('HINCRBY', KEYS[1], 'token', 1)
end
redis.call('HSET', KEYS[1], 'node', node, 'until_us', text(now + lasts_us))
return { 1, token, now }
