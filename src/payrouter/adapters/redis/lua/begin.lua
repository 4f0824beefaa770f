-- Write intents, each only where its payment still is as it was claimed.
-- KEYS: dispatchers, payments, meta
-- ARGV: instance, group, then per intent the payment's id, its record as claimed, and its record with the intent
-- Returns one digit per intent, 1 where it stands (also when it did before: a call may be repeated); nil when fenced.
local dispatchers, payments, meta = KEYS[1], KEYS[2], KEYS[3]
if not registered(dispatchers, ARGV[1]) then
  return nil
end
local answers, begun = {}, 0
for i = 3, #ARGV, 3 do
  local id, before, after = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local record = redis.call('HGET', payments, id)
  if record == before then
    redis.call('HSET', payments, id, after)
    begun = begun + 1
    answers[#answers + 1] = '1'
  else
    answers[#answers + 1] = record == after and '1' or '0'
  end
end
if begun > 0 then
  redis.call('HINCRBY', meta, 'waiting', -begun)
end
return table.concat(answers)
