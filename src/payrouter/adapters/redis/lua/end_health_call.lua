-- A health call ended just now: the pause counts from here.
-- KEYS: leader, health      ARGV: node, token, processor
-- Returns whether we lead.
if not leads(KEYS[1], ARGV[1], ARGV[2]) then
  return 0
end
redis.call('HSET', KEYS[2], 'called:' .. ARGV[3], text(now_us()))
return 1
