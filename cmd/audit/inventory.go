package main

import "github.com/spf13/cobra"

// newInventoryTopic is a help topic and no command: it has nothing to run.
func newInventoryTopic() *cobra.Command {
	return &cobra.Command{
		Use:   "inventory",
		Short: "The format of the inventory, hosts.yaml",
		Long:  inventoryHelp,
	}
}

const inventoryHelp = `An inventory is a YAML file that says which hosts there are, which of their
ports are meant to be open, and which addresses may be contacted at all.

Example:

  version: 1
  allow: [10.20.0.0/24, 127.0.0.0/8, "::1"]  # nothing outside is ever contacted
  exclude: [10.20.0.7]             # never contacted, whoever lists it
  defaults:
    ports: {tcp: 1-65535}          # for hosts without ports of their own
  hosts:
    - name: mail1
      address: mail1.example.org
      owner: platform
      expect:
        - port: 25/tcp
          service: smtp
          reason: inbound mail
        - port: 587/tcp
          reason: until all clients have moved
          expires: 2031-06-30
        - port: 2525/tcp
          from: loopback
    - name: web1
      addresses: [10.20.0.8, 10.20.0.9]
      ports: {tcp: ["22,80-90", 443, 8000-8999]}
      expect: [{port: 443/tcp, service: https, from: private}]
    - name: printer
      address: 10.20.0.30
      ports: {tcp: 9100, udp: [53, 161]}
      silent: ok

Keys of the file:
  version    1. Required
  allow      networks, or single addresses; at most a /8 (IPv4) or a /32 (IPv6).
             Required: without it nothing is contacted. Link-local and multicast
             addresses and the clouds' metadata services are never contacted,
             allowed or not
  exclude    networks or addresses taken out of allow
  defaults   ports, as below, for hosts that do not say their own
  hosts      the list of hosts. Required

Keys of a host:
  name       what reports call it: letters, digits and . _ : -  Required
  address    its address, or a name. A name is resolved once, when the audit
             begins; one answer outside allow refuses the host
  addresses  a list of these, instead of address; expect holds for each of them
  owner      who answers for it; shown with its findings
  ports      what to look at: tcp and udp, each a port, a range, a text like
             "22,80-90", or a list of these; [] is none, which a host may say of
             one of the two. A protocol that is left out is as in defaults.
             Where defaults do not say it either, that means every TCP port,
             1-65535, and no UDP port. The ports that a host expects are looked
             at besides, and first
  expect     the ports that are meant to be open. An open port that is not among
             them is a finding (unexpected), and so is one of them that does not
             answer (missing)
  silent     ok: it may answer nothing at all. Without it such a host makes the
             audit incomplete

Keys of an expectation:
  port       25/tcp or 53/udp. Required
  service    what runs there; shown in reports
  reason     why it is open; shown in reports
  expires    the last day (UTC) on which it is expected, like 2031-06-30. Open
             after that is a finding (expired)
  from       how far the address may reach on which it is open: loopback (this
             machine), private (addresses that the Internet does not route), or
             any, which is the default. Open on one that reaches further is
             unexpected

UDP ports are not probed in this version: they are recorded as unknown, and an
audit that was asked about them is incomplete (exit code 3).

The file is read strictly: an unknown key, a key that stands twice, an address
outside allow, or two hosts with one address is a fault, named as
file:line:column. All faults are shown at once, nothing is contacted, and the
exit code is 2. YAML indents with spaces, never with tabs; IPv6 addresses need
quotes.

Who may write the file may aim the audit. On Unix it is refused, therefore, when
everyone may write it, or a folder on the way to it, behind symlinks too, that
has no sticky bit.
`
