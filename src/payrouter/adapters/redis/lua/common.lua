#!lua flags=allow-oom
-- Shared by every script of a dispatcher; put in front of each. They run in a full Redis too: they make room in it.

-- Return true while nobody has taken over what this instance holds, and this is still its name (renew.lua).
local function registered(dispatchers, instance)
  return redis.call('ZSCORE', dispatchers, instance) ~= false
end

-- In the stream's group a dispatcher keeps the name it joined under.
local function consumer_of(instance)
  return string.match(instance, '^[^.]+')
end

local function padded(number)
  return string.rep('0', 20 - #number) .. number
end

-- Members of the sorted sets (all of score 0) sort by the payment's place in the queue: padded entry id, then id.
-- Put together as text: a place is two numbers of 64 bits, and Lua's have 53.
local function member(entry, id)
  local ms, number = string.match(entry, '^(%d+)-(%d+)$')
  return padded(ms) .. padded(number) .. id
end

local function id_in(member_text)
  return string.sub(member_text, 41)
end

local function entry_in(member_text)
  local ms, number = string.sub(member_text, 1, 20), string.sub(member_text, 21, 40)
  return string.match(ms, '^0*(%d+)') .. '-' .. string.match(number, '^0*(%d+)')
end

-- The parts of a record that every state has: state, amount, accepted_us, entry, attempts. nil for a spoilt record.
local function entry_of(record)
  return string.match(record, '^%a;%d+;%d+;(%d+%-%d+);%d')
end

local function holds(queue, group, instance, entry)
  return #redis.call('XPENDING', queue, group, entry, entry, 1, consumer_of(instance)) > 0
end

-- Put a payment that nobody holds any more where others find it. A spoilt one is put aside by whoever claims it.
local function hand_on(again, orphans, record, entry, id)
  local state = string.sub(record, 1, 1)
  if state == 'A' or state == 'P' then
    redis.call('ZADD', orphans, 0, member(entry, id))
  elseif state ~= 'D' then
    redis.call('ZADD', again, 0, member(entry, id))
  end
end

-- Put aside a payment whose record was spoilt. The record stays, so that nobody charges the payment as a new one.
local function set_aside(queue, group, poison, meta, entry, id, record)
  local hex = string.gsub(id, '.', function(byte)
    return string.format('%02x', string.byte(byte))
  end)
  local uuid = string.gsub(hex, '^(........)(....)(....)(....)(............)$', '%1-%2-%3-%4-%5')
  redis.call('HSET', poison, uuid, 'a record that cannot be read: ' .. string.sub(record, 1, 200))
  redis.call('HINCRBY', meta, 'poison', 1)
  redis.call('XACK', queue, group, entry)
  redis.call('XDEL', queue, entry)
end

-- Put the traces of delivered payments, ids and traces in turn, in the place that `reply` has for them: its second. Ids
-- and records follow there. Most clients trace nothing.
local function add_traces(traces, reply)
  reply[2] = {}
  if redis.call('EXISTS', traces) == 0 then
    return
  end
  for i = 3, #reply, 2 do
    local trace = redis.call('HGET', traces, reply[i])
    if trace then
      reply[2][#reply[2] + 1] = reply[i]
      reply[2][#reply[2] + 1] = trace
    end
  end
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
