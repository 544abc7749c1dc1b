package smtpd

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"postern.example/smtpd/admit"
)

// refusal is an admit.Refusal as the end of a session.
type refusal struct{ admit.Refusal }

func (r refusal) Error() string { return "refused: " + string(r.Reason) }

// admit starts a session for c, or refuses it by its address, before anything
// else is done for it. Behind a balancer the address comes with the PROXY
// header, and the session itself asks.
func (s *Server) admit(c net.Conn, p policy) {
	g := newGate(c, p, s.cfg, s.metrics)
	if !g.proxied {
		if r := s.ask(g); !r.IsZero() {
			s.turnAway(g, r)
			return
		}
	}
	if !s.sessions.add(g) {
		g.leave()
		s.turnAway(g, admit.Refusal{Code: 421, Enhanced: "4.3.2", Text: s.cfg.Hostname + " is shutting down", Reason: "draining"})
		return
	}
	s.metrics.sessions.WithLabelValues(string(p.role)).Inc()
	go func() {
		defer s.sessions.remove(g)
		s.serveConn(g)
	}()
}

// ask asks for the admission of the gate's client.
func (s *Server) ask(g *gate) (r admit.Refusal) {
	g.adm, r = s.tracker.Connect(g.client.Addr(), g.now())
	return r
}

// leave gives the client's places back.
func (g *gate) leave() {
	if g.adm != nil {
		g.adm.Close(g.now())
	}
}

// turnAway tells a client that it may not connect, without waiting for it.
func (s *Server) turnAway(g *gate, r admit.Refusal) {
	if !g.implicit { // there nobody could read it
		g.answer(r.String())
		g.flush()
	}
	g.stop(refusal{r})
	if half, ok := g.raw.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
	g.raw.Close()
	s.recent.add(g.record())
	g.release()
	s.metrics.closed.WithLabelValues("refused").Inc()
	s.cfg.Log.Warn("refused", "remote", g.RemoteAddr().String(), "reason", string(r.Reason))
}

// failureOf tells whether a reply is for a failure of the client's, and which.
func failureOf(reply string) (admit.Failure, bool) {
	switch reply[:3] {
	case "535":
		return admit.AuthFailed, true
	case "500", "501", "502", "503", "504", "530", "538", "550", "553", "555":
		return admit.ProtocolError, true
	}
	return 0, false
}

// penalize counts a failure before its reply is given, and slows the reply down
// where the client has earned that.
func (g *gate) penalize(reply string) admit.Refusal {
	f, ok := failureOf(reply)
	if !ok || g.adm == nil {
		return admit.Refusal{}
	}
	v := g.adm.Fault(f, g.now())
	if v.Delay > 0 {
		g.flush()
		t := time.NewTimer(v.Delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-g.drained:
		}
	}
	return v.Refusal
}

// refuse gives a refusal as an answer, and ends the session where it says so.
func (g *gate) refuse(r admit.Refusal) {
	if r.Code == 450 {
		g.answer(r.String())
		return
	}
	g.shut(r.String(), refusal{r})
}

// idle notes a command that brings no message nearer, and tells whether the
// session goes on.
func (g *gate) idle() bool {
	if r := g.adm.Command(); !r.IsZero() {
		g.refuse(r)
		return false
	}
	return true
}

// pause holds the greeting back from strangers, to see whether they speak first,
// which only those do that do not listen (RFC 5321, section 3.1).
func (g *gate) pause() error {
	d := g.adm.GreetPause()
	if d <= 0 || g.implicit {
		return nil
	}
	until := time.Now().Add(d)
	g.busy = true // a drain does not cut the pause short as if the client were idle
	g.arm(until)
	g.busy = false
	_, err := g.in.Peek(1)
	var ne net.Error
	switch {
	case err == nil:
		r := g.adm.Greeted(true, g.now())
		if r.IsZero() {
			return nil
		}
		return g.shut(r.String(), refusal{r})
	case errors.As(err, &ne) && ne.Timeout():
		g.adm.Greeted(false, g.now())
		return nil
	}
	g.clean = true
	return g.stop(err)
}

// loadLists puts the lists of the configuration and of its files together.
func loadLists(cfg Config) (allow, block *admit.List, err error) {
	allow, aerr := loadList("allow", cfg.Allow, cfg.AllowFile)
	block, berr := loadList("block", cfg.Block, cfg.BlockFile)
	return allow, block, errors.Join(aerr, berr)
}

func loadList(name string, nets []netip.Prefix, file string) (*admit.List, error) {
	if file != "" {
		st, err := os.Stat(file)
		if err != nil {
			return nil, fmt.Errorf("%s list: %w", name, err)
		}
		if st.Size() > admit.MaxList {
			return nil, fmt.Errorf("%s list: %s is longer than %d bytes", name, file, admit.MaxList)
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("%s list: %w", name, err)
		}
		l, err := admit.ParseList(file, data)
		if err != nil {
			return nil, err
		}
		nets = append(nets[:len(nets):len(nets)], l.Nets()...)
	}
	return admit.NewList(nets...)
}
