# Postfix, for `servers`, which has what is called here.

# postfix_answers PORT: it greets.
postfix_answers() {
	timeout 3 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1"; read -r line <&3; [[ $line == 220\ *Postfix* ]]' _ "$1" 2>/dev/null
}

postfix_on() {
	local dir=$1 port=$2
	mkdir -p "$dir/etc" "$dir/queue" "$dir/data" "$dir/mail"
	chown postfix "$dir/data"
	chown 65534:65534 "$dir/mail"
	cat >"$dir/etc/main.cf" <<-TEXT
		compatibility_level = 3.6
		queue_directory = $dir/queue
		data_directory = $dir/data
		maillog_file = /dev/stdout
		myhostname = mx.mail.example
		mydestination =
		inet_interfaces = loopback-only
		inet_protocols = ipv4
		mynetworks = 127.0.0.0/8
		virtual_mailbox_domains = mail.example
		virtual_mailbox_base = $dir/mail
		virtual_mailbox_maps = regexp:$dir/etc/mailboxes
		virtual_uid_maps = static:65534
		virtual_gid_maps = static:65534
	TEXT
	[ ! -e "$dir/tls.pem" ] || printf '%s\n' 'smtpd_tls_security_level = may' "smtpd_tls_chain_files = $dir/tls.pem" >>"$dir/etc/main.cf"
	echo '!/^gone@/ inbox/' >"$dir/etc/mailboxes"
	cat >"$dir/etc/master.cf" <<-TEXT
		127.0.0.1:$port inet n - n - - smtpd
		cleanup unix n - n - 0 cleanup
		qmgr unix n - n 300 1 qmgr
		rewrite unix - - n - - trivial-rewrite
		bounce unix - - n - 0 bounce
		defer unix - - n - 0 bounce
		trace unix - - n - 0 bounce
		error unix - - n - - error
		retry unix - - n - - error
		proxymap unix - - n - - proxymap
		virtual unix - n n - - virtual
		anvil unix - - n - 1 anvil
		tlsmgr unix - - n 1000? 1 tlsmgr
		postlog unix-dgram n - n - 1 postlogd
	TEXT
	# Its processes have users of their own, who must reach their folders.
	chmod 755 "$dir"
	"$postfix" -c "$dir/etc" check >>"$dir/log" 2>&1 || return 1
	MAIL_CONFIG=$dir/etc launch "$dir" "$("${postfix%/*}/postconf" -h daemon_directory)/master" -s
	await "$dir" postfix_answers "$port"
}
