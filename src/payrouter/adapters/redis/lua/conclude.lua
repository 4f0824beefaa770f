-- Move payments whose attempt did not charge, each only from the record it is known to have.
-- KEYS: dispatchers, queue, payments, again, dead, failures, meta, notices, notices-since, notices-tries
-- ARGV: instance, group, most failures kept, 1 when notices are to be written, then per attempt: id, record before, record
-- after, failure as JSON
-- Returns one digit per attempt, 1 where it was moved now, 0 where it was not as known, perhaps because an earlier call
-- has moved it; nil when the instance is fenced.
local dispatchers, queue, payments, again, dead, failures, meta =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local instance, group, most = ARGV[1], ARGV[2], tonumber(ARGV[3])
if not registered(dispatchers, instance) then
  return nil
end

local function add_failure(id, failure)
  local kept = redis.call('HGET', failures, id)
  local text = kept and (kept .. '\n' .. failure) or failure
  local _, breaks = string.gsub(text, '\n', '\n')
  for _ = most, breaks do
    text = string.gsub(text, '^[^\n]*\n', '', 1)
  end
  redis.call('HSET', failures, id, text)
end

local answers, buried = {}, {}
for i = 5, #ARGV, 4 do
  local id, before, after, failure = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local record = redis.call('HGET', payments, id)
  if record == before then
    redis.call('HSET', payments, id, after)
    add_failure(id, failure)
    local state, entry = string.sub(after, 1, 1), entry_of(after)
    if state == 'Q' then
      redis.call('ZADD', again, 0, member(entry, id))
      redis.call('HINCRBY', meta, 'waiting', 1)
    elseif state == 'D' then
      redis.call('ZADD', dead, 0, member(entry, id))
      buried[#buried + 1] = id
    end
    if state ~= 'P' then
      redis.call('XACK', queue, group, entry)
    end
  end
  answers[#answers + 1] = record == before and '1' or '0'
end
if #buried > 0 and ARGV[4] == '1' then
  note(KEYS[8], KEYS[9], KEYS[10], '4', buried, now_us())
end
return table.concat(answers)
