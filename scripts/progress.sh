# Sourced by the scripts that build something long:  progress LOG SECONDS TEXT COMMAND…
# Runs COMMAND with its output in LOG and prints TEXT every SECONDS, with `{n}` as the number of crates compiled so far and `{s}` as the
# seconds gone. Returns the exit status of COMMAND. An interrupt ends COMMAND too: background jobs of a script do not get it by themselves.
progress() {
  local log=$1 every=$2 text=$3 seconds=0 pid line; shift 3
  "$@" >"$log" 2>&1 9>&- &
  pid=$!
  trap 'kill '$pid' 2>/dev/null; wait '$pid'; exit 130' INT TERM
  while kill -0 "$pid" 2>/dev/null; do
    sleep 1; seconds=$((seconds + 1))
    [ $((seconds % every)) = 0 ] || continue
    line=${text//'{n}'/$(grep -c Compiling "$log" 2>/dev/null || true)}
    echo "${line//'{s}'/$seconds}"
  done
  trap - INT TERM
  wait "$pid"
}
