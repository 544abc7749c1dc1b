package mailclient

import (
	"fmt"
	"strconv"
	"strings"

	"postern.example/mailclient/wire"
)

// Meanings says in plain words what each event of the trace means, in its
// order. The words are ours; what they quote is shown through wire.Printable.
func (t Trace) Meanings() []string {
	out := make([]string, len(t.Events))
	for i, e := range t.Events {
		switch e.From {
		case wire.Client:
			out[i] = meansCommand(e)
		case wire.Remote:
			first := i == 0 || t.Events[i-1].From != wire.Remote || t.Events[i-1].Verb != e.Verb
			out[i] = meansReply(e, first)
		default:
			out[i] = meansNetwork(e)
		}
	}
	return out
}

func meansNetwork(e wire.Event) string {
	switch {
	case e.Failed && e.Kind == wire.Resolve:
		return "no address, so nothing to connect to"
	case e.Failed && e.Kind == wire.Connect:
		return "nobody took the connection here"
	case e.Failed && e.Kind == wire.TLS:
		return "no encryption came about; going on in the clear would be no answer"
	case e.Failed:
		return "the conversation ends here"
	}
	switch e.Kind {
	case wire.Resolve:
		return "the name was turned into addresses"
	case wire.Connect:
		if e.Verb == "unix" {
			return "a socket on this machine: no network in between"
		}
		return "TCP's handshake: one round trip before anybody says a word"
	case wire.TLS:
		return "from here on nobody in between can read along"
	}
	return "both sides are done"
}

func meansCommand(e wire.Event) string {
	switch e.Verb {
	case "EHLO":
		return "who calls, and: which extensions do you have?"
	case "LHLO":
		return "who calls, in LMTP: each recipient gets an answer of its own"
	case "HELO":
		return "who calls, in the form from before there were extensions"
	case "STARTTLS":
		return "let us encrypt"
	case "AUTH":
		if firstWord(e.Text) == "AUTH" {
			return "who I am; the secret is not shown here"
		}
		return "the next part of the proof, not shown here"
	case "MAIL":
		return "a mail begins: bounces go to this address" + mailParams(e.Text)
	case "RCPT":
		return "one who shall get it; the To: field plays no part in it"
	case "DATA":
		if e.Kind == wire.Data {
			return "header, blank line, text; a dot that begins a line is sent twice"
		}
		return "may the message itself come?"
	case ".":
		return "a line with a dot only: the message ends"
	case "RSET":
		return "forget the mail that was begun"
	case "QUIT":
		return "good-bye"
	}
	return ""
}

func mailParams(text string) string {
	var b strings.Builder
	if strings.HasPrefix(text, "MAIL FROM:<>") {
		b.WriteString(" (none: this is a bounce, and gets none itself)")
	}
	for _, p := range strings.Fields(text) {
		key, v, _ := strings.Cut(p, "=")
		switch key {
		case "SIZE":
			fmt.Fprintf(&b, "; %s bytes will come", v)
		case "BODY":
			b.WriteString("; with bytes above 127")
		case "SMTPUTF8":
			b.WriteString("; with addresses or a header in UTF-8")
		}
	}
	return b.String()
}

func meansReply(e wire.Event, first bool) string {
	if len(e.Text) < 3 {
		return "not a reply"
	}
	code, err := strconv.Atoi(e.Text[:3])
	if err != nil {
		return "not a reply"
	}
	text := ""
	if len(e.Text) > 4 {
		text = e.Text[4:]
	}
	switch {
	case code == 250 && (e.Verb == "EHLO" || e.Verb == "LHLO"):
		if first {
			return "yes, and here is what I can do:"
		}
		return meansExtension(text)
	case code == 250 && e.Verb == "." && queueID(text) != "":
		return "accepted: the server answers for this mail from now on, under this id"
	case code/100 == 2, code/100 == 3:
		return meansYes(code, e.Verb)
	}
	if e.Text[3:] != "" && e.Text[3] == '-' {
		return "the reply goes on in the next line"
	}
	return meansNo(code, e.Verb, text)
}

func meansYes(code int, verb string) string {
	switch {
	case code == 220 && verb == "":
		return "the server speaks first: who it is, and that it is ready"
	case code == 220 && verb == "STARTTLS":
		return "go ahead with TLS"
	case code == 221:
		return "good-bye; the server closes"
	case code == 235:
		return "you are who you say"
	case code == 334:
		return "go on with the proof"
	case code == 354:
		return "let it come, and end it with a dot alone on a line"
	case code == 251:
		return "not here, but I pass it on"
	case code == 252:
		return "I cannot say, but I take it"
	}
	switch verb {
	case "HELO":
		return "yes, without any extension"
	case "MAIL":
		return "sender taken"
	case "RCPT":
		return "recipient taken"
	case "RSET":
		return "forgotten"
	case ".":
		return "accepted: the server answers for this mail from now on"
	}
	return "yes"
}

// extensions are the keywords of EHLO in plain words.
var extensions = map[string]string{
	"PIPELINING":          "several commands may travel in one packet",
	"8BITMIME":            "bytes above 127 are welcome in a message",
	"SMTPUTF8":            "addresses and headers may be in UTF-8",
	"STARTTLS":            "the conversation can be encrypted",
	"ENHANCEDSTATUSCODES": "replies carry a finer code, such as 5.1.1",
	"CHUNKING":            "a message may come in counted pieces, without the dot",
	"BINARYMIME":          "a message may hold any bytes, without lines",
	"DSN":                 "a sender may choose which reports come back",
	"VRFY":                "an address can be asked for",
	"EXPN":                "a list can be asked for its members",
	"ETRN":                "waiting mail can be called for",
	"HELP":                "there is a help text",
	"REQUIRETLS":          "a mail may demand encryption on its whole way",
	"DELIVERBY":           "a mail may carry a time to be delivered by",
	"FUTURERELEASE":       "a mail may be kept back until a time",
	"MT-PRIORITY":         "a mail may be more urgent than others",
	"XCLIENT":             "a trusted proxy may say whom it speaks for (Postfix)",
	"XFORWARD":            "a trusted relay may say where a mail came from (Postfix)",
}

func meansExtension(text string) string {
	key := firstWord(text)
	params := ""
	if len(text) > len(key) {
		params = strings.TrimSpace(text[len(key):])
	}
	switch key {
	case "SIZE":
		if n, err := strconv.ParseInt(params, 10, 64); err == nil && n > 0 {
			return fmt.Sprintf("messages of up to %s are taken, and their size may be told beforehand", size(n))
		}
		return "the size of a message may be told beforehand"
	case "AUTH":
		return "a user may prove who it is, by " + wire.Printable(strings.Join(strings.Fields(params), ", "))
	case "LIMITS":
		return "how many mails and recipients one conversation may have"
	}
	if m, ok := extensions[key]; ok {
		return m
	}
	return "an extension this client does not know"
}

func size(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.4g GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.4g MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.4g KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d bytes", n)
}

// meansNo explains a refusal: by the enhanced code where that says more (RFC
// 3463), by the reply code otherwise, and whether to try again.
func meansNo(code int, verb, text string) string {
	why := ""
	word, _, _ := strings.Cut(text, " ")
	if class, rest, ok := strings.Cut(word, "."); ok && len(class) == 1 && class[0] == byte('0'+code/100) {
		why = enhancedMeaning[rest]
	}
	if why == "" {
		why = codeMeaning[code]
	}
	if why == "" {
		why = "refused"
	}
	switch {
	case verb == "EHLO" && code/100 == 5:
		return why + ": perhaps HELO is understood"
	case code/100 == 4:
		return why + "; for now only: the same may be tried again later"
	}
	return why + "; for good: trying again changes nothing"
}

var codeMeaning = map[int]string{
	421: "the server closes",
	432: "the password needs a change",
	450: "the mailbox cannot be had",
	451: "something failed in the server",
	452: "the server is short of room",
	454: "the server cannot do this",
	455: "the parameters cannot be met",
	500: "the command is not known",
	501: "the command is not well formed",
	502: "the command is not done here",
	503: "the command comes at the wrong time",
	504: "the parameter is not known",
	521: "this host takes no mail",
	523: "the recipients' limit on messages is met",
	530: "first say who you are, or encrypt",
	534: "this way of proving is too weak",
	535: "user or password are not right",
	538: "first encrypt, then say who you are",
	550: "not taken: no such mailbox, or not from you",
	551: "the mailbox is elsewhere",
	552: "too large",
	553: "the mailbox name is not allowed",
	554: "not taken",
	555: "the parameters are not known",
	556: "the domain takes no mail",
}

// enhancedMeaning goes by subject and detail, without the class.
var enhancedMeaning = map[string]string{
	"1.1":  "no such mailbox",
	"1.2":  "no such domain",
	"1.3":  "the address is not well formed",
	"1.6":  "the mailbox has moved and left no address",
	"1.8":  "the sender's domain does not exist",
	"1.10": "the domain says that it takes no mail",
	"2.1":  "the mailbox is shut",
	"2.2":  "the mailbox is full",
	"2.3":  "too large for this mailbox",
	"3.1":  "the server's disk is full",
	"3.2":  "the server takes no mail at present",
	"3.4":  "too large",
	"4.2":  "the connection is bad",
	"4.5":  "the server is too busy",
	"4.7":  "the mail was on its way for too long",
	"5.1":  "the command comes at the wrong time, or is not known",
	"5.2":  "the command is not well formed",
	"5.3":  "too many recipients",
	"5.4":  "the parameter is not known",
	"6.7":  "addresses in UTF-8 are not taken",
	"7.0":  "not allowed",
	"7.1":  "not allowed: by the server's rules, or no relaying for strangers",
	"7.8":  "user or password are not right",
	"7.26": "the sender could not be shown to be real",
}
