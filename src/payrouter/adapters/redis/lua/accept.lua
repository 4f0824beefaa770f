-- Take payments that are not known yet: dedupe, count, enqueue, in one step.
-- KEYS: payments, queue, meta, known, known-before
-- ARGV: limit, then per payment its 16-byte id and "amount;accepted_us"
-- Returns one digit per payment: 0 accepted, 1 known with this amount, 2 known with another, 3 the queue is full.
local payments, queue, meta, known, known_before = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local waiting = tonumber(redis.call('HGET', meta, 'waiting') or '0')
local limit = tonumber(ARGV[1])
local answers, accepted = {}, 0
for i = 2, #ARGV, 2 do
  local id, facts = ARGV[i], ARGV[i + 1]
  local amount = string.match(facts, '^%d+')
  local record = redis.call('HGET', payments, id)
  local before = record and string.match(record, '^%a;(%d+)')
    or redis.call('HGET', known, id)
    or redis.call('HGET', known_before, id)
  if before then
    answers[#answers + 1] = before == amount and '1' or '2'
  elseif waiting + accepted >= limit then
    answers[#answers + 1] = '3'
  else
    local entry = redis.call('XADD', queue, '*', 'p', id)
    redis.call('HSET', payments, id, 'Q;' .. facts .. ';' .. entry .. ';0')
    accepted = accepted + 1
    answers[#answers + 1] = '0'
  end
end
if accepted > 0 then
  redis.call('HINCRBY', meta, 'waiting', accepted)
end
return table.concat(answers)
