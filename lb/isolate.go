package lb

import (
	"context"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/lb/labels"
)

// refused is a service that HAProxy does not take, with its own words.
type refused struct {
	service labels.Service
	why     error
}

// isolate finds the services that make a configuration invalid: it halves the list
// until the bad ones stand alone, so k bad ones among n cost about k·log2(n)
// validations. valid must give an error of kind Invalid for a refused list; any other
// error ends the search.
func isolate(ctx context.Context, services []labels.Service, valid func(context.Context, []labels.Service) error) (good []labels.Service, bad []refused, err error) {
	why := valid(ctx, services)
	switch {
	case why == nil:
		return services, nil, nil
	case fault.KindOf(why) != fault.Invalid || ctx.Err() != nil:
		return nil, nil, why
	case len(services) == 0:
		return nil, nil, why // the frame itself is refused
	case len(services) == 1:
		return nil, []refused{{services[0], why}}, nil
	}
	half := len(services) / 2
	left, leftBad, err := isolate(ctx, services[:half], valid)
	if err != nil {
		return nil, nil, err
	}
	right, rightBad, err := isolate(ctx, services[half:], valid)
	if err != nil {
		return nil, nil, err
	}
	good = append(append([]labels.Service{}, left...), right...)
	bad = append(leftBad, rightBad...)
	if len(bad) > 0 {
		return good, bad, nil
	}
	// Each half is fine alone and both together are not: they clash. The later
	// half's services give way, one by one.
	good = left
	for _, s := range right {
		if why := valid(ctx, append(append([]labels.Service{}, good...), s)); why == nil {
			good = append(good[:len(good):len(good)], s)
		} else if fault.KindOf(why) == fault.Invalid {
			bad = append(bad, refused{s, why})
		} else {
			return nil, nil, why
		}
	}
	return good, bad, nil
}
