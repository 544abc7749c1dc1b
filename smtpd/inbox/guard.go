package inbox

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// guard refuses what a browser may have been tricked into asking, and sets the
// headers under which nothing of ours can be made to run or be framed.
func (h *handler) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hd := w.Header()
		hd.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; sandbox")
		hd.Set("X-Content-Type-Options", "nosniff")
		hd.Set("Referrer-Policy", "no-referrer")
		hd.Set("Cross-Origin-Resource-Policy", "same-origin")
		hd.Set("Cache-Control", "no-store")
		if !h.ourHost(r) {
			problem(w, http.StatusMisdirectedRequest, "Host names neither this server nor a loopback address")
			return
		}
		if !ownOrigin(r) {
			problem(w, http.StatusForbidden, "Origin is another site's")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// ourHost tells whether the Host is one that only we answer to: a loopback
// name or address, the very address that was connected to, or our host name.
// Any other name may have been pointed here by whoever owns it.
func (h *handler) ourHost(r *http.Request) bool {
	host := hostOnly(r.Host)
	if strings.EqualFold(host, "localhost") || strings.EqualFold(host, h.Hostname) {
		return true
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	if ip.Unmap().IsLoopback() {
		return true
	}
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if local == nil {
		return false
	}
	ap, err := netip.ParseAddrPort(local.String())
	return err == nil && ap.Addr().Unmap().WithZone("") == ip.Unmap()
}

func hostOnly(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.TrimSuffix(strings.TrimPrefix(hostport, "["), "]")
}

// ownOrigin tells whether a request comes from no page at all, or from one of
// ours. Sec-Fetch-Site cannot be set by a script; older browsers lack it.
func ownOrigin(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
	default:
		return false
	}
	origins := r.Header.Values("Origin")
	if len(origins) == 0 {
		return true
	}
	if len(origins) > 1 {
		return false
	}
	u, err := url.Parse(origins[0])
	return err == nil && u.Scheme == scheme(r) && u.Host != "" && strings.EqualFold(u.Host, r.Host)
}

func scheme(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	return "http"
}
