mode=$1; auth=plain; starttls=on; port=$2; to=; n=0
case "$mode" in LOGIN) auth=login;; CRAM-MD5) auth=cram-md5;; TLS) starttls=off port=$3;; esac
while [ $n -lt $6 ]; do to="$to r$n@local.example"; n=$((n+1)); done
login="--tls=on --tls-starttls=$starttls --tls-certcheck=off --auth=$auth"
login="$login --user=carol@local.example"; pass='echo pencil'
[ "$mode" != plain ] || { port=$4; login='--tls=off --auth=off'; }
dsn=; [ "$mode" != DSN ] || dsn='--dsn-notify=success,failure --dsn-return=headers'
exec msmtp --file=/dev/null --host=127.0.0.1 --port=$port --domain=client.example $login --passwordeval="$pass" $dsn --from=carol@local.example $to <"$5"
