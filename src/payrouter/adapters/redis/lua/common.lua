-- Shared by every script of a dispatcher; put in front of each.

-- Return true while nobody has taken over what this instance holds.
local function registered(dispatchers, instance)
  return redis.call('ZSCORE', dispatchers, instance) ~= false
end

-- Members of the sorted sets (all of score 0) sort by the payment's place in the queue: padded entry id, then id.
local function member(entry, id)
  local ms, seq = string.match(entry, '^(%d+)-(%d+)$')
  return string.format('%015d%08d', tonumber(ms), tonumber(seq)) .. id
end

local function id_in(member_text)
  return string.sub(member_text, 24)
end

-- The parts of a record that every state has: state, amount, accepted_us, entry, attempts.
local function entry_of(record)
  return string.match(record, '^%a;%d+;%d+;([%d-]+);')
end

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- Unpacking more than some thousand values overflows Lua's stack.
local function in_chunks(values, size, call)
  for first = 1, #values, size do
    call(unpack(values, first, math.min(first + size - 1, #values)))
  end
end
