package transport

import (
	"context"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// subscribe sets told whenever addresses or routes change, until ctx ends (rtnetlink(7)).
func subscribe(ctx context.Context, told chan struct{}) error {
	addrs, routes := make(chan netlink.AddrUpdate, 16), make(chan netlink.RouteUpdate, 16)
	if err := netlink.AddrSubscribeWithOptions(addrs, ctx.Done(), netlink.AddrSubscribeOptions{ErrorCallback: func(error) {}}); err != nil {
		return fmt.Errorf("transport: netlink: %w", err)
	}
	if err := netlink.RouteSubscribeWithOptions(routes, ctx.Done(), netlink.RouteSubscribeOptions{ErrorCallback: func(error) {}}); err != nil {
		routes = nil
	}
	go func() { // ends with the subscriptions, which close their channels
		for addrs != nil || routes != nil {
			var ok bool
			select {
			case _, ok = <-addrs:
				if !ok {
					addrs = nil
				}
			case _, ok = <-routes:
				if !ok {
					routes = nil
				}
			}
			if ok {
				poke(told)
			}
		}
		poke(told) // what ended by itself is seen by polling
	}()
	return nil
}

// defaultRoutes describes the routes to everywhere.
func defaultRoutes() (all []string) {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
		if err != nil {
			continue
		}
		for _, r := range routes {
			if r.Dst != nil {
				if ones, _ := r.Dst.Mask.Size(); ones != 0 {
					continue
				}
			}
			all = append(all, fmt.Sprintf("default %d %d %s", family, r.LinkIndex, r.Gw))
		}
	}
	return all
}
