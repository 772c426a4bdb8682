package netguard

import (
	"net/netip"
	"strings"
)

// kind is what an address is good for.
type kind int

const (
	public   kind = iota
	private       // in the network of an organisation
	loopback      // this machine
	special       // link-local, multicast, reserved
)

// String is the kind in the text of an error.
func (k kind) String() string {
	switch k {
	case public:
		return "a public address"
	case private:
		return "an address in a private network"
	case loopback:
		return "an address of this machine"
	}
	return "a link-local or reserved address"
}

var (
	privateNetworks  = prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "64:ff9b:1::/48")
	loopbackNetworks = prefixes("127.0.0.0/8", "0.0.0.0/8", "::1/128", "::/128")
	// specialNetworks are the other blocks that IANA's registries call not globally reachable.
	specialNetworks = prefixes("169.254.0.0/16", "192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24",
		"203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "fe80::/10", "fec0::/10", "ff00::/8", "100::/64",
		"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16")
	// translated is where a NAT64 gateway puts IPv4 addresses.
	translated = netip.MustParsePrefix("64:ff9b::/96")
)

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// unwrap is the IPv4 address inside an IPv6 address that stands for one, else the address itself
// without its zone.
func unwrap(ip netip.Addr) netip.Addr {
	ip = ip.Unmap().WithZone("")
	if translated.Contains(ip) {
		b := ip.As16()
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return ip
}

func kindOf(ip netip.Addr) kind {
	ip = unwrap(ip)
	in := func(networks []netip.Prefix) bool {
		for _, n := range networks {
			if n.Contains(ip) {
				return true
			}
		}
		return false
	}
	switch {
	case in(loopbackNetworks):
		return loopback
	case in(privateNetworks):
		return private
	case in(specialNetworks):
		return special
	}
	return public
}

// IsLoopbackName tells the names of this machine, whatever a resolver says.
func IsLoopbackName(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// isNumericName tells a host that a resolver may take for an IPv4 address although it is not
// written as one: 127.1, 0x7f000001.
func isNumericName(host string) bool {
	last := host[strings.LastIndexByte(strings.TrimSuffix(host, "."), '.')+1:]
	return last != "" && last[0] >= '0' && last[0] <= '9'
}

// internalDomains are those that no public name server answers for.
var internalDomains = []string{".local", ".internal", ".intranet", ".lan", ".home", ".corp", ".private", ".home.arpa", ".svc"}

// isInternalName tells a name that only an internal network resolves.
func isInternalName(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if !strings.Contains(host, ".") {
		return true
	}
	for _, domain := range internalDomains {
		if strings.HasSuffix(host, domain) {
			return true
		}
	}
	return false
}
