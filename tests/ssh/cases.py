"""The table of side_by_side. A case has: config (~/.ssh/config), global (/etc/ssh/ssh_config), known (files with known hosts),
keys (files in ~/.ssh, of which key of the server's; `:public`, `:private` a half only, `:plain` without its certificate),
modes, agent (keys it holds), host and user to log in as; what OpenSSH makes of it (verdict); what carries ours (by; libssh
unless said); and where ours differs on purpose, what it makes of it (ours).

The server takes good1, good2, good3 (ECDSA) and small (RSA, 1024 bits), and `certified` by its certificate alone; it hangs up
after six keys. <port> and <second> are its ports, <key_ed25519> and <key_rsa> its host keys, whose certificate is for pve04."""

HOST = "Host pve04\n  HostName 127.0.0.1\n  Port <port>\n"
KNOWN = {"known_hosts": "[127.0.0.1]:<port> <key_ed25519>"}
GOOD = {"id_ed25519": "good1"}
MANY = [f"bad{i}" for i in range(1, 9)]


def case(name, verdict, **members):
    members = {"host": "pve04", "config": HOST, "known": KNOWN, "keys": GOOD, **members}
    return {"name": name, "verdict": verdict, **{member.replace("_", " "): value for member, value in members.items()}}


CASES = [
    # Where to, and as whom.
    case("a plain host of the configuration", "in with good1"),
    case("the port of a pattern, as for a node of the own cluster", "in with good1", host="127.0.0.1", user="root",
         alias="pve02", config="Host pve02 127.0.0.1\n  Port <second>\n", known={}, node_keys="pve02 <key_ed25519>"),
    case("a node's own key decides, and no file's", "host key", host="127.0.0.1", user="root", alias="pve02",
         config="Host *\n  Port <port>\n", known={"known_hosts": "pve02 <key_ed25519>"}, node_keys="pve02 <key_other>"),
    case("the first value that is found counts", "in with good1", config=HOST + "  Port <second>\nHost *\n  Port 1\n  User nobody\n"),
    case("the user of the configuration", "in with good1", config=HOST + "  User nobody\n"),
    case("the user that is asked for comes before it", "in with good1", user="root", config=HOST + "  User nobody\n"),
    case("a user nobody has", "refused", user="no-such-user"),
    case("HostName with a token", "in with good1", host="1", config="Host 1\n  HostName 127.0.0.%h\n  Port <port>\n"),
    case("another address", "in with good1", config="Host pve04\n  HostName 127.0.0.2\n  Port <second>\n",
         known={"known_hosts": "[127.0.0.2]:<second> <key_ed25519>"}),
    case("the system's configuration", "in with good1", config="", **{"global": HOST}),
    case("Include", "in with good1", config="Include ~/.ssh/more\n", known={**KNOWN, "more": HOST}),
    case("Match exec", "in with good1",
         config='Match exec "test %n = pve04"\n  HostName 127.0.0.1\n  Port <port>\nMatch exec false\n  Port 1\n'),
    case("Match originalhost and final", "in with good1",
         config="Match originalhost pve04\n  HostName 127.0.0.1\nMatch final host 127.0.0.1\n  Port <port>\n"),
    case("canonical names", "in with good1", config="CanonicalizeHostname yes\nCanonicalDomains invalid\n" + HOST),
    case("AddressFamily", "not there", host="127.0.0.1", config="AddressFamily inet6\nPort <port>\n"),
    case("BindAddress", "in with good1", config=HOST + "  BindAddress 127.0.0.1\n", by="openssh"),
    case("a closed port", "not there", config="Host pve04\n  HostName 127.0.0.1\n  Port 1\n"),
    case("a name nobody has", "not there", config="Host pve04\n  HostName no-such-host.invalid\n"),
    case("a configuration that ssh refuses", "no configuration", config=HOST + "  NoSuchOption yes\n", by=None),

    # Host keys.
    case("a host key that is not known", "host key", known={}, says=["is not known", "SHA256:", "root@pve04"], user="root"),
    case("a host key that has changed", "host key", known={"known_hosts": "[127.0.0.1]:<port> <key_other>"}, says=["has changed"]),
    case("a host key that is revoked", "host key",
         known={"known_hosts": "[127.0.0.1]:<port> <key_ed25519>\n@revoked * <key_ed25519>"}, says=["revoked"]),
    case("the key without the port", "in with good1", known={"known_hosts": "127.0.0.1 <key_ed25519>"}),
    case("another key without the port", "host key", known={"known_hosts": "127.0.0.1 <key_other>"}, says=["is not known"]),
    case("another key without the port, and new ones are taken", "in with good1", known={"known_hosts": "127.0.0.1 <key_other>"},
         accept_new=True),
    case("a hashed name", "in with good1", hash=True),
    case("a pattern with an exception", "in with good1", known={"known_hosts": "*,!127.0.0.1 <key_ed25519>"}),
    case("a pattern that is excepted", "host key", known={"known_hosts": "*,![127.0.0.1]:<port>,!127.0.0.1 <key_ed25519>"}),
    case("HostKeyAlias", "in with good1", config=HOST + "  HostKeyAlias Node-4\n", known={"known_hosts": "node-4 <key_ed25519>"}),
    case("HostKeyAlias, and the key under the address alone", "host key", config=HOST + "  HostKeyAlias node-4\n"),
    case("the second of two known-hosts files", "in with good1",
         config=HOST + "Host *\n  UserKnownHostsFile ~/.ssh/known_hosts ~/.ssh/known_hosts.dr\n",
         known={"known_hosts": "other <key_other>", "known_hosts.dr": "[127.0.0.1]:<port> <key_ed25519>"}),
    case("known_hosts2", "in with good1", known={"known_hosts2": "[127.0.0.1]:<port> <key_ed25519>"}),
    case("known hosts with a token", "in with good1", config=HOST + "  UserKnownHostsFile %d/.ssh/of-%n\n",
         known={"of-pve04": "[127.0.0.1]:<port> <key_ed25519>"}),
    case("known hosts with a blank in the name", "in with good1", config=HOST + '  UserKnownHostsFile "~/.ssh/my hosts"\n',
         known={"my hosts": "[127.0.0.1]:<port> <key_ed25519>"}, by="openssh"),
    case("the system's known hosts", "in with good1", known={"/etc/ssh/ssh_known_hosts": "[127.0.0.1]:<port> <key_ed25519>"}),
    case("no known hosts at all", "host key", config=HOST + "  UserKnownHostsFile none\n  GlobalKnownHostsFile none\n"),
    case("StrictHostKeyChecking accept-new", "in with good1", config=HOST + "  StrictHostKeyChecking accept-new\n", known={}),
    case("StrictHostKeyChecking accept-new with a key that has changed", "host key",
         config=HOST + "  StrictHostKeyChecking accept-new\n", known={"known_hosts": "[127.0.0.1]:<port> <key_other>"}),
    case("StrictHostKeyChecking no with a key that has changed", "in with good1", ours="host key",
         config=HOST + "  StrictHostKeyChecking no\n", known={"known_hosts": "[127.0.0.1]:<port> <key_other>"}),
    case("NoHostAuthenticationForLocalhost", "in with good1", ours="host key",
         config=HOST + "  NoHostAuthenticationForLocalhost yes\n", known={}),
    case("the kind of host key that is known", "in with good1", known={"known_hosts": "[127.0.0.1]:<port> <key_rsa>"}),
    case("HostKeyAlgorithms", "host key", config=HOST + "  HostKeyAlgorithms rsa-sha2-512\n"),
    case("a certificate authority", "in with good1", config=HOST + "  HostKeyAlias pve04\n",
         known={"known_hosts": "@cert-authority pve0* <host_ca>"}, by="openssh", says=["@cert-authority"]),
    case("a certificate authority of another host's", "host key", config=HOST + "  HostKeyAlias pve05\n",
         known={"known_hosts": "@cert-authority pve0* <host_ca>"}, by="openssh"),
    case("KnownHostsCommand", "in with good1", known={}, by="openssh",
         config=HOST + "  KnownHostsCommand /bin/echo %H <key_ed25519>\n"),

    # Keys.
    case("no key", "refused", keys={}),
    case("the default keys in ssh's order", "in with good1", keys={"id_ed25519": "good1", "id_rsa": "small:public", "id_ecdsa": "bad1"}),
    case("both of two IdentityFiles", "in with good1", keys={"key_good": "good1", "key_other": "bad1"},
         config=HOST + "  IdentityFile ~/.ssh/key_other\nHost *\n  IdentityFile ~/.ssh/key_good\n"),
    case("the first of two IdentityFiles", "in with good1", keys={"key_good": "good1", "key_other": "bad1"},
         config=HOST + "  IdentityFile ~/.ssh/key_good\nHost *\n  IdentityFile ~/.ssh/key_other\n"),
    case("IdentityFile with %d", "in with good2", keys={"key_good": "good2"}, config=HOST + "  IdentityFile %d/.ssh/key_good\n"),
    case("IdentityFile with ${HOME}", "in with good2", keys={"key_good": "good2"},
         config=HOST + "  IdentityFile ${HOME}/.ssh/key_good\n"),
    case("IdentityFile with tokens", "in with good2", keys={"pve04-127.0.0.1-root": "good2"}, user="root",
         config=HOST + "  IdentityFile ~/.ssh/%n-%h-%r\n"),
    case("IdentityFile with a blank in its name", "in with good2", keys={"my key": "good2"},
         config=HOST + '  IdentityFile "~/.ssh/my key"\n'),
    case("IdentityFile none", "refused", config=HOST + "  IdentityFile none\n"),
    case("an IdentityFile that is not there", "refused", config=HOST + "  IdentityFile ~/.ssh/gone\n", says=["gone (No such file"]),
    case("a key that others may read", "refused", modes={"id_ed25519": 0o644}, says=["others may read it"]),
    case("a key with a passphrase", "refused", keys={"id_ed25519": "locked"}, says=["passphrase"]),
    case("a key with a passphrase, and another", "in with good3", keys={"id_ed25519": "locked", "id_ecdsa": "good3"}),
    case("an RSA key of 1024 bits", "in with small", keys={"id_rsa": "small"}),
    case("RequiredRSASize", "refused", keys={"id_rsa": "small"}, config=HOST + "  RequiredRSASize 2048\n"),
    case("PubkeyAcceptedAlgorithms", "in with good3", keys={"id_ed25519": "good1", "id_ecdsa": "good3"},
         config=HOST + "  PubkeyAcceptedAlgorithms ecdsa-sha2-nistp256\n"),
    case("PubkeyAuthentication no", "refused", config=HOST + "  PubkeyAuthentication no\n", by="openssh"),
    case("a certificate beside its key", "in with certified-cert", keys={"id_ed25519": "certified"}, user="root"),
    case("its key without the certificate", "refused", keys={"id_ed25519": "certified:plain"}, user="root"),
    case("CertificateFile", "in with certified-cert", keys={"key": "certified:plain", "signed": "certified:public"}, user="root",
         config=HOST + "  IdentityFile ~/.ssh/key\n  CertificateFile ~/.ssh/signed-cert.pub\n"),
    case("too many keys", "too many keys", keys={name: name for name in MANY},
         config=HOST + "".join(f"  IdentityFile ~/.ssh/{name}\n" for name in MANY), says=["too many authentication failures"]),

    # Agents.
    case("a key of the agent's", "in with good1", keys={}, agent=["bad1", "good1"]),
    case("an agent with many keys", "too many keys", agent=MANY, says=["too many authentication failures", "IdentitiesOnly"]),
    case("an agent with many keys, one of them an IdentityFile", "in with good2", agent=[*MANY, "good2"],
         keys={"key": "good2:public"}, config=HOST + "  IdentityFile ~/.ssh/key\n"),
    case("IdentitiesOnly with an agent of many keys", "in with good1", agent=MANY, config=HOST + "  IdentitiesOnly yes\n"),
    case("the agent's keys before the files", "in with good2", agent=["bad1", "good2"]),
    case("IdentityAgent", "in with good2", keys={}, agent=["good2"], agent_elsewhere=True,
         config=HOST + "  IdentityAgent <dir>/agent\n"),
    case("IdentityAgent of a variable", "in with good2", keys={}, agent=["good2"], agent_elsewhere=True,
         env={"MY_AGENT": "<dir>/agent"}, config=HOST + "  IdentityAgent $MY_AGENT\n"),
    case("IdentityAgent none", "refused", keys={}, agent=["good2"], config=HOST + "  IdentityAgent none\n"),
    case("a certificate of the agent's", "in with certified-cert", keys={}, agent=["certified"], user="root"),
    case("a certificate for a key of the agent's", "in with certified-cert", keys={"key": "certified:public"}, agent=["certified"],
         user="root", config=HOST + "  IdentitiesOnly yes\n  IdentityFile ~/.ssh/key\n"),

    # What the ssh program carries.
    case("ProxyJump", "in with good1", by="openssh", says=["ProxyJump"],
         config=HOST + "  ProxyJump jump\nHost jump\n  HostName 127.0.0.2\n  Port <second>\n",
         known={"known_hosts": "[127.0.0.1]:<port> <key_ed25519>\n[127.0.0.2]:<second> <key_ed25519>"}),
    case("ProxyJump over a host that is not known", "host key", by="openssh", says=["on the way there"],
         config=HOST + "  ProxyJump jump\nHost jump\n  HostName 127.0.0.2\n  Port <second>\n"),
    case("ProxyCommand", "in with good1", by="openssh", says=["ProxyCommand"],
         config=HOST + "  ProxyCommand perl -MIO::Socket::INET -e '$s=IO::Socket::INET->new(PeerAddr=>shift,PeerPort=>shift);"
         "if(fork){while(sysread $s,$b,9999){syswrite STDOUT,$b}}else{while(sysread STDIN,$b,9999){syswrite $s,$b}"
         "shutdown $s,1}' %h %p\n"),
    case("what only disturbs is left out", "in with good1", by="openssh", ssh="openssh",
         config=HOST + "  RequestTTY no\n  ForwardAgent yes\n  SendEnv LANG\n  ControlMaster auto\n  ControlPath ~/.ssh/%C\n"
         "  ControlPersist no\n  HashKnownHosts yes\n"),
    case("the ssh program and an agent of many keys", "too many keys", by="openssh", ssh="openssh", agent=MANY,
         says=["too many authentication failures", "IdentitiesOnly"]),
    case("the ssh program and a host key that has changed", "host key", by="openssh", ssh="openssh",
         known={"known_hosts": "[127.0.0.1]:<port> <key_other>"}, says=["has changed", "known_hosts:1"]),
    case("the ssh program and a key that is refused", "refused", by="openssh", ssh="openssh", keys={"id_ed25519": "bad1"},
         says=["id_ed25519", "authorized_keys"]),
    case("the ssh program and a node's own key", "in with good1", by="openssh", ssh="openssh", host="127.0.0.1", user="root",
         alias="pve02", config="Host *\n  Port <port>\n", known={}, node_keys="pve02 <key_ed25519>"),
]
