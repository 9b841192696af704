mode=$1; auth=PLAIN; tls=--tls; port=$2; to=r0@local.example; n=1
case "$mode" in LOGIN|CRAM-MD5) auth=$mode;; TLS) tls=--tls-on-connect port=$3;; esac
while [ $n -lt $6 ]; do to="$to,r$n@local.example"; n=$((n+1)); done
pipeline=; [ $6 = 1 ] || pipeline=--pipeline
login="$tls --auth $auth --auth-user carol@local.example --auth-password pencil"
[ "$mode" != plain ] || { port=$4; login=; }
exec swaks --silent 2 $pipeline --server 127.0.0.1 --port $port --helo client.example $login --from carol@local.example --to $to --data "@$5"
