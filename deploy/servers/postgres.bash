# PostgreSQL, for `servers`, which has what is called here.

# postgres_bin prints the folder with PostgreSQL's programs: Debian keeps them out of the PATH, a folder a version.
postgres_bin() {
	local found
	found=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
	[ -n "$found" ] || found=$(dirname "$(command -v initdb)" 2>/dev/null) || return 1
	echo "$found"
}

# unprivileged COMMAND... runs it as the user postgres where we are root, which PostgreSQL refuses to be. It may pass
# through folders that only root may: that of a test belongs to whoever made it.
unprivileged() {
	if [ "$(id -u)" = 0 ]; then
		setpriv --reuid postgres --regid postgres --init-groups --inh-caps +dac_override --ambient-caps +dac_override "$@"
	else
		"$@"
	fi
}

# postgres_answers HOST:PORT [DIR]: it asks the user tollgate for a password, so it takes connections; and it is the one
# that runs with that folder.
postgres_answers() {
	local first
	first=$(timeout 3 bash -c '
		exec 3<>"/dev/tcp/$1/$2"
		printf "\0\0\0\x29\0\x03\0\0user\0tollgate\0database\0tollgate\0\0" >&3
		head -c 1 <&3
	' _ "${1%:*}" "${1##*:}" 2>/dev/null) && [ "$first" = R ] || return 1
	[ -z "${2:-}" ] || [ "$(head -n 1 "$2/data/postmaster.pid" 2>/dev/null)" = "$(cat "$2/pid")" ]
}

postgres_on() {
	local dir=$1 port=$2 bin tries
	bin=$(postgres_bin)
	if [ ! -e "$dir/data/PG_VERSION" ]; then
		rm -rf "$dir/data"
		mkdir -p "$dir/data"
		[ "$(id -u)" != 0 ] || chown postgres "$dir/data"
		echo tollgate >"$dir/password"
		chmod 644 "$dir/password"
		postgres_init "$dir" "$bin" >>"$dir/log" 2>&1 || { rm -rf "$dir/data"; return 1; }
	fi
	# The processes of a server that was killed hold its memory for a moment.
	for ((tries = 0; tries < 40; tries++)); do
		postgres_launch "$dir" "$bin" "$port"
		! await "$dir" postgres_answers "127.0.0.1:$port" "$dir" || return 0
		tail -n 5 "$dir/log" | grep -qi 'shared memory block\|is another postmaster' || return 1
		sleep 0.25
	done
	return 1
}

# postgres_init makes a cluster whose own collation is not that of bytes, so that a query which relies on one shows it.
postgres_init() {
	local dir=$1 bin=$2 locale=()
	! unprivileged "$bin/initdb" --help | grep -q icu-locale || locale=(--locale-provider=icu --icu-locale=en)
	unprivileged "$bin/initdb" --no-sync --encoding=UTF8 --locale=C.UTF-8 "${locale[@]}" --username=tollgate \
		--pwfile="$dir/password" --auth=scram-sha-256 --pgdata="$dir/data" || return 1
	echo 'CREATE DATABASE tollgate' | unprivileged "$bin/postgres" --single -D "$dir/data" postgres || return 1
}

postgres_launch() {
	local dir=$1 bin=$2 port=$3 as=()
	[ "$(id -u)" != 0 ] || as=(setpriv --reuid postgres --regid postgres --init-groups --inh-caps +dac_override --ambient-caps +dac_override)
	launch "$dir" "${as[@]}" "$bin/postgres" -D "$dir/data" -p "$port" -c listen_addresses=127.0.0.1 -c unix_socket_directories= \
		-c max_connections=200 -c shared_buffers=64MB -c log_min_messages=warning -c timezone=UTC
}
