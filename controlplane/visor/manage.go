package visor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/dmsg/dmsghttp"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// serveRemote answers the operators of visors that may manage this one, until ctx ends.
func (v *Visor) serveRemote(ctx context.Context, n *dmsgNet) error {
	return api.ServeRemote(ctx, n.manage, v, dmsgKey, func(pk cipher.PubKey) bool { return v.network.admits.Load().manage[pk] }, v.log)
}

// dmsgKey returns the key in an address of the dmsg network.
func dmsgKey(a net.Addr) cipher.PubKey {
	addr, _ := a.(proto.Addr)
	return addr.PK
}

// Pass implements api.Visor.
func (v *Visor) Pass(ctx context.Context, pk cipher.PubKey, c api.Call) (api.Answer, error) {
	if pk == v.pk {
		return api.Answer{}, api.ErrBadRequest.With("%s is this visor; leave out --visor", pk)
	}
	if len(v.network.dmsg) == 0 {
		return api.Answer{}, api.ErrNoNetwork.With("this visor is in no dmsg network, by which it could reach %s: it needs deployments or a section \"dmsg\" in its configuration", pk)
	}
	url := fmt.Sprintf("%s://%s:%d%s", dmsghttp.Scheme, pk, api.Port, c.Path)
	rq, err := http.NewRequestWithContext(ctx, c.Method, url, bytes.NewReader(c.Body))
	if err != nil {
		return api.Answer{}, api.ErrBadRequest.With("visor: %v", err)
	}
	rs, err := v.remote.RoundTrip(rq)
	if err != nil {
		return api.Answer{}, notPassed(pk, err)
	}
	defer rs.Body.Close()
	body, err := io.ReadAll(io.LimitReader(rs.Body, api.MaxBody+1))
	switch {
	case err != nil:
		return api.Answer{}, api.ErrUnreachable.With("the visor %s broke off its answer: %v", pk, err)
	case len(body) > api.MaxBody:
		return api.Answer{}, api.ErrInternal.With("the visor %s answers with more than %d bytes", pk, api.MaxBody)
	}
	return api.Answer{Status: rs.StatusCode, Body: body}, nil
}

// notPassed says why a visor is not reached.
func notPassed(pk cipher.PubKey, err error) error {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return api.ErrTimeout.With("the visor %s did not answer in time", pk)
	case errors.Is(err, proto.ErrNoEntry):
		return api.ErrUnreachable.With("no visor with the key %s is online in a dmsg network of this one", pk)
	case errors.Is(err, proto.ErrNoListener):
		return api.ErrUnreachable.With("who has the key %s takes no commands; is it a visor?", pk)
	}
	return api.ErrUnreachable.With("the visor %s is not reached over dmsg: %v", pk, err)
}
