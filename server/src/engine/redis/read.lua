-- Reads messages and the bounds of the log.
--
-- ARGV: 3 which: a(fter an offset), b(efore it) or n(ewest); 4 the offset; 5 the most messages; 6 the most bytes;
-- 7 whether the room is watched: then it gets a state, so that it keeps its epoch, and does not expire.
--
-- The answer: epoch, forks, head, floor, whether the room exists; then the offset, the time and the message of each, in
-- the order of reading. A fork is an earlier epoch, a colon, and the last message that it has in common with this one;
-- forks are separated by spaces, the newest first.

trim(0, 0)
if ARGV[7] == '1' then
    if not is_stored then
        store()
    end
    keep()
end
local answer = { epoch, forks, text(head), text(floor), made and '1' or '0' }
local which, offset, left, capacity = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local is_forward = which == 'a'
local next_offset = is_forward and math.max(offset, floor) + 1 or which == 'b' and math.min(offset - 1, head) or head
local is_first = true
while left > 0 and next_offset > floor and next_offset <= head do
    local count = math.min(left, 64)
    local entries
    if is_forward then
        entries = redis.call('XRANGE', log_key, text(next_offset), '+', 'COUNT', text(count))
    else
        entries = redis.call('XREVRANGE', log_key, text(next_offset), '-', 'COUNT', text(count))
    end
    local found = entries[1] and tonumber(string.match(entries[1][1], '^%d+'))
    if not found or is_forward and found ~= next_offset then
        -- Something else deleted messages. Those that are missing count as trimmed.
        floor = found and found - 1 or is_forward and head or next_offset
        redis.call('HSET', state_key, 'floor', text(floor))
        answer[4] = text(floor)
    end
    if not found then
        break
    end
    for _, entry in ipairs(entries) do
        local message = entry[2][4]
        capacity = capacity - #message
        if capacity < 0 and not is_first then
            return answer
        end
        is_first = false
        local id = string.match(entry[1], '^%d+')
        answer[#answer + 1] = id
        answer[#answer + 1] = entry[2][2]
        answer[#answer + 1] = message
        next_offset = tonumber(id) + (is_forward and 1 or -1)
    end
    left = left - #entries
end
return answer
