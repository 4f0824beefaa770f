-- Take over from dispatchers whose heartbeat stopped, then adopt unresolved attempts that nobody holds.
-- KEYS: dispatchers, queue, payments, again, orphans, meta, poison, traces
-- ARGV: instance, group, most to adopt, "1" to take over from the dead, how long a heartbeat lasts in ms
-- Returns nil when the instance is fenced; else the names taken over from, traces of the adopted, then id and record of each.
local dispatchers, queue, payments, again, orphans, meta, poison =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local instance, group, most = ARGV[1], ARGV[2], tonumber(ARGV[3])
if not registered(dispatchers, instance) then
  return nil
end
local taken = {}
if ARGV[4] == '1' then
  -- Whoever asks is alive, whatever its last heartbeat says.
  taken = set_expired_free(dispatchers, queue, payments, again, orphans, group, tonumber(ARGV[5]), instance)
end
local reply = { table.concat(taken, ' '), {} }
local found = redis.call('ZRANGE', orphans, 0, most - 1)
if #found > 0 then
  redis.call('ZREMRANGEBYRANK', orphans, 0, #found - 1)
  for _, text in ipairs(found) do
    local id, entry = id_in(text), entry_in(text)
    local record = redis.call('HGET', payments, id)
    if record and entry_of(record) == entry then
      redis.call('XCLAIM', queue, group, consumer_of(instance), '0', entry, 'FORCE', 'JUSTID')
      reply[#reply + 1] = id
      reply[#reply + 1] = record
    elseif record then
      set_aside(queue, group, poison, meta, entry, id, record)
    end
  end
end
add_traces(KEYS[8], reply)
return reply
