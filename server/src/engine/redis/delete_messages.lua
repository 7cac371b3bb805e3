-- Deletes the bodies of all messages of a user in one room. An entry of a stream cannot be changed, so a log that has any
-- is written anew.
--
-- ARGV: 3 the user.
--
-- The answer: how many bodies were deleted.

local user, count = ARGV[3], 0
local entries, next_offset = {}, floor + 1
while next_offset <= head do
    local some = redis.call('XRANGE', log_key, text(next_offset), '+', 'COUNT', 256)
    if #some == 0 then
        break
    end
    for _, entry in ipairs(some) do
        local message = entry[2][4]
        -- Sender, user, number, id and body in a line each; a body that was deleted is empty.
        local _, last, of = string.find(message, '^[^\n]*\n([^\n]*)\n[^\n]*\n[^\n]*\n')
        if of == user and last < #message then
            count = count + 1
            bytes = math.max(0, bytes - (#message - last))
            message = string.sub(message, 1, last)
        end
        entries[#entries + 1] = { entry[1], entry[2][2], message }
    end
    next_offset = tonumber(string.match(some[#some][1], '^%d+')) + 1
end
if count == 0 then
    return '0'
end
-- A cluster that moves the slot to another node would refuse to make the log again. It refuses any key that is not there.
if redis.pcall('EXISTS', generation_key .. ':none') ~= 0 then
    return redis.error_reply('TRYAGAIN the slot is being moved')
end
local ttl = redis.call('PTTL', log_key)
redis.call('UNLINK', log_key)
for _, entry in ipairs(entries) do
    redis.call('XADD', log_key, entry[1], 'at', entry[2], 'message', entry[3])
end
if ttl > 0 then
    redis.call('PEXPIRE', log_key, text(ttl))
end
redis.call('HSET', state_key, 'bytes', text(bytes))
return text(count)
