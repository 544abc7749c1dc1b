package audit

import "postern.example/audit/record"

// service is what usually listens on a port. The names are those of IANA's
// registry or the software's own; they say nothing about what really listens.
type service struct {
	name string
	// why is what makes this one worse than any other open port, if anything
	// does. It must hold for the software's or the protocol's ordinary form.
	why string
}

// usual returns the usual service of a TCP port.
func usual(p record.Port) (service, bool) {
	if p.Proto != record.TCP {
		return service{}, false
	}
	const clear = "it carries passwords in clear text"
	const noLogin = "it is commonly run without a password"
	const control = "who may log in there controls the machine"
	s, ok := map[uint16]service{
		20: {"ftp-data", ""}, 21: {"ftp", clear}, 22: {"ssh", ""}, 23: {"telnet", clear}, 25: {"smtp", ""},
		53: {"dns", ""}, 79: {"finger", ""}, 80: {"http", ""}, 88: {"kerberos", ""}, 110: {"pop3", ""},
		111: {"rpcbind", ""}, 113: {"ident", ""}, 119: {"nntp", ""}, 135: {"msrpc", ""},
		139: {"netbios-ssn", "file shares are meant for the local network"}, 143: {"imap", ""}, 179: {"bgp", ""},
		389: {"ldap", ""}, 443: {"https", ""}, 445: {"smb", "file shares are meant for the local network"}, 465: {"submissions", ""},
		512: {"exec", clear}, 513: {"login", clear}, 514: {"shell", "it trusts the caller's address"}, 515: {"printer", ""},
		587: {"submission", ""}, 631: {"ipp", ""}, 636: {"ldaps", ""}, 853: {"dns-over-tls", ""},
		873: {"rsync", ""}, 989: {"ftps-data", ""}, 990: {"ftps", ""}, 993: {"imaps", ""}, 995: {"pop3s", ""},
		1080: {"socks", ""}, 1433: {"ms-sql", ""}, 1521: {"oracle", ""}, 1883: {"mqtt", ""}, 2049: {"nfs", ""},
		2375: {"docker", "who reaches it controls the machine: it has no password and no encryption"},
		2376: {"docker-tls", ""}, 2379: {"etcd-client", noLogin}, 2380: {"etcd-peer", ""},
		3128: {"http-proxy", ""}, 3306: {"mysql", ""}, 3389: {"rdp", control}, 4369: {"epmd", ""}, 5060: {"sip", ""},
		5432: {"postgresql", ""}, 5672: {"amqp", ""}, 5900: {"vnc", control}, 5984: {"couchdb", ""},
		5985: {"winrm", control}, 5986: {"winrm-tls", control}, 6000: {"x11", "who reaches it may see the screen and the keys"},
		6379: {"redis", noLogin}, 6443: {"kubernetes-api", ""}, 8080: {"http-alt", ""}, 8443: {"https-alt", ""},
		9042: {"cassandra", ""}, 9092: {"kafka", ""}, 9100: {"pdl-datastream", ""},
		9200: {"elasticsearch", noLogin}, 10250: {"kubelet", "who is let in runs commands in every container"},
		11211: {"memcached", "it has no password in its ordinary form"}, 15672: {"rabbitmq-http", ""},
		25565: {"minecraft", ""}, 27017: {"mongodb", noLogin},
	}[p.Number]
	return s, ok && s.name != ""
}
