-- What the processes told of themselves, and when.
-- KEYS: nodes, slots
-- Returns {now in ms, node, its slot, what it told, ...}.
local reply = { string.format('%.0f', now_ms()) }
local slots = redis.call('HGETALL', KEYS[2])
for i = 1, #slots, 2 do
  reply[#reply + 1] = slots[i]
  reply[#reply + 1] = slots[i + 1]
  reply[#reply + 1] = redis.call('HGET', KEYS[1], slots[i]) or ''
end
return reply
