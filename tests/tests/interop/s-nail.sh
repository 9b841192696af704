mode=$1; auth=plain; scheme=submission; port=$2; to=; n=0; user=
case "$mode" in LOGIN) auth=login;; CRAM-MD5) auth=cram-md5;; TLS) scheme=submissions port=$3;; esac
while [ $n -lt $6 ]; do to="$to r$n@local.example"; n=$((n+1)); done
user=carol%40local.example:pencil@; starttls='-S smtp-use-starttls'
[ "$mode" != plain ] || { port=$4; auth=none; scheme=smtp; user=; starttls=; }
exec s-nail -n -S v15-compat=y -S sendwait -S tls-verify=ignore $starttls -S hostname=client.example -S "smtp-auth=$auth" -S from=carol@local.example -S "mta=$scheme://${user}127.0.0.1:$port" -s interop $to <"$5"
