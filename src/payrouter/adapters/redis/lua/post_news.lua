-- Hang up a note in place of the one about the same thing, and tell everybody to look.
-- KEYS: leader, board
-- ARGV: node, what it is about, what it says, channel, what to say there, token when only the leader may post it
-- A note: number (rising with every note), instant, node, what it says.
-- Returns its number, 0 when we do not lead.
if ARGV[6] and not leads(KEYS[1], ARGV[1], ARGV[6]) then
  return 0
end
local number = redis.call('HINCRBY', KEYS[2], 'number', 1)
redis.call('HSET', KEYS[2], ARGV[2], text(number) .. ' ' .. text(now_us()) .. ' ' .. ARGV[1] .. ' ' .. ARGV[3])
redis.call('PUBLISH', ARGV[4], ARGV[5])
return number
