package egress

import (
	"net/netip"
	"strings"
)

// Connection is where an outbound connection is to lead.
type Connection struct {
	// To is its destination; its Kind is 0 where the request has none.
	To Found
	// Method is in upper case; empty: not known, or none.
	Method string
	// Addresses are those that the enforcement point resolved the host to.
	Addresses []netip.Addr
	// Within are the URLs within its own.
	Within []Found
	// From is where it was redirected from; its Kind is 0 where it was not, or where
	// the request names the decision on it: FromDecision.
	From         Found
	FromDecision string
}

// StatedConnection is what a request says of a connection.
type StatedConnection struct {
	URL, Scheme, Host string
	Port              uint16
	Method            string
	Addresses         []string
	// RedirectedFrom is a decision's id or a URL.
	RedirectedFrom string
}

// MaxAddresses bounds the addresses of one connection.
const MaxAddresses = 64

// Connect reads where a connection is to lead. An address that cannot be read is
// entered as an invalid one, which is never allowed.
func Connect(in StatedConnection) Connection {
	c := Connection{Method: strings.ToUpper(in.Method)}
	c.To.Kind = Reached
	if in.URL != "" {
		c.To.Target, c.To.Problem = Read(in.URL)
		if c.To.Problem == Fine && disagrees(c.To.Target, in) {
			c.To.Problem = Ambiguous
		}
		if c.To.Problem == Fine {
			found, cut := nested(in.URL)
			if c.Within = found; cut {
				c.Within = append(c.Within, Found{Kind: Nested, Problem: TooLong})
			}
		}
	} else {
		c.To.Target, c.To.Problem = ReadHost(in.Host)
		if in.Host == "" {
			c.To.Target, c.To.Problem = Target{}, Fine // the vendor says where
		}
		c.To.Scheme, c.To.Port = in.Scheme, in.Port
		if in.Port == 0 && in.Scheme != "" {
			c.To.Port = ports[in.Scheme]
		}
	}
	for _, text := range in.Addresses {
		a, _ := netip.ParseAddr(text)
		c.Addresses = append(c.Addresses, a)
	}
	switch from := in.RedirectedFrom; {
	case from == "":
	case len(from) == 36 && strings.Count(from, "-") == 4 && !strings.Contains(from, ":"):
		c.FromDecision = from
	default:
		c.From.Kind = Origin
		c.From.Target, c.From.Problem = Read(from)
	}
	return c
}

// disagrees reports whether what is said beside a URL is not what it says.
func disagrees(t Target, in StatedConnection) bool {
	host := strings.TrimSuffix(in.Host, ".")
	if a, err := netip.ParseAddr(host); err == nil {
		host = a.String()
	}
	return in.Host != "" && host != t.Host || in.Scheme != "" && in.Scheme != t.Scheme || in.Port != 0 && in.Port != t.Port
}

// Redirected reports whether something sent the connection here.
func (c *Connection) Redirected() bool { return c.From.Kind != 0 || c.FromDecision != "" }

// Redirect says why a connection may not follow a redirect; nil: it may, or follows
// none.
func (c *Connection) Redirect() *Refusal {
	secure := map[string]bool{"https": true, "wss": true}
	switch {
	case c.From.Kind == 0:
		return nil
	case c.From.Problem != Fine:
		return &Refusal{"redirect", "was redirected to from a URL that cannot be read in one way alone", "Send the URL of the hop before, or its decision's id."}
	case secure[c.From.Scheme] && c.To.Scheme != "" && !secure[c.To.Scheme]:
		return &Refusal{"redirect", "would leave TLS by a redirect", "Do not follow a redirect from https to http."}
	}
	return nil
}
