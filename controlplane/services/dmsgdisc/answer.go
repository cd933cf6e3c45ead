package dmsgdisc

import "github.com/skyminer/skywire/controlplane/services/httpd"

// An answer is a list, ready to be sent; its body is nil if it were too long.
type answer struct{ *httpd.Body }

func newAnswer(body []byte) answer {
	if body == nil {
		return answer{}
	}
	return answer{httpd.NewBody(body)}
}

func (a answer) size() int {
	if a.Body == nil {
		return 0
	}
	return a.Size()
}

// answer answers with a list.
func (c *call) answer(a answer) {
	if a.Body == nil {
		c.refuse(errHeavy)
		return
	}
	a.Send(c.RequestCtx)
}
