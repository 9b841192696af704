mode=$1; auth=PLAIN; scheme=smtp; port=$2; to=; n=0
case "$mode" in LOGIN|CRAM-MD5) auth=$mode;; TLS) scheme=smtps port=$3;; esac
while [ $n -lt $6 ]; do to="$to --mail-rcpt r$n@local.example"; n=$((n+1)); done
[ "$mode" != SMTPUTF8 ] || to='--mail-rcpt grün@local.example'
login="--ssl-reqd --login-options AUTH=$auth --user carol@local.example:pencil"
[ "$mode" != plain ] || { port=$4; login=; }
export LC_ALL=C.UTF-8
exec curl --silent --show-error --crlf --insecure $login "$scheme://127.0.0.1:$port/client.example" --mail-from carol@local.example $to --upload-file "$5"
