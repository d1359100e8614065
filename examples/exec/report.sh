#!/bin/sh
# A whole handler. The payload comes on standard input, the result goes to standard output, the log to standard error.
set -eu
name=$(tr -dc 'A-Za-z0-9 ')
[ -n "$name" ] || { echo "the payload holds no name" >&2; exit 65; } # 65: the task's fault

echo "attempt $DLITE_ATTEMPT of task $DLITE_TASK_ID" >&2
echo '{"type":"progress","message":"greeting","fraction":0.5}' >&3
echo "GREETED=$name" >> "$DLITE_OUTPUT"
printf '{"greeting":"hello %s"}\n' "$name"
