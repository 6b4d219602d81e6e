package resource

import (
	"errors"
	"fmt"
	"math"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Validate checks resources from outside, in either format, before they are summed:
// value and type agree, scalars are representable, ranges and sets are proper, gpus
// whole, disk and reservation fields consistent (mesos-master.md section 4). The error
// is fault.Invalid about the first bad resource.
func Validate(rs []*mesos.Resource) error {
	for _, r := range rs {
		if err := validate(r); err != nil {
			return fault.New("check resource", fault.Invalid, Text(r), err)
		}
	}
	return nil
}

func validate(r *mesos.Resource) error {
	if r.GetName() == "" {
		return errors.New("Empty resource name")
	}
	if err := validateValue(r); err != nil {
		return err
	}
	if err := validateDisk(r); err != nil {
		return err
	}
	if len(r.Reservations) == 0 {
		if err := validateOldForm(r); err != nil {
			return err
		}
	} else if err := validateStack(r); err != nil {
		return err
	}
	if r.Shared != nil && !IsVolume(r) {
		return errors.New("Only persistent volumes can be shared")
	}
	return nil
}

func validateValue(r *mesos.Resource) error {
	scalar, ranges, set := r.Scalar != nil, r.Ranges != nil, r.Set != nil
	switch r.GetType() {
	case mesos.Value_SCALAR:
		if !scalar || ranges || set {
			return errors.New("Invalid scalar resource")
		}
		return validateScalar(r.GetName(), r.GetScalar().GetValue())
	case mesos.Value_RANGES:
		if scalar || !ranges || set {
			return errors.New("Invalid ranges resource")
		}
		return validateRanges(r.GetRanges())
	case mesos.Value_SET:
		if scalar || ranges || !set {
			return errors.New("Invalid set resource")
		}
		seen := make(map[string]bool, len(r.GetSet().GetItem()))
		for _, item := range r.GetSet().GetItem() {
			if seen[item] {
				return errors.New("Invalid set resource: duplicated elements")
			}
			seen[item] = true
		}
		return nil
	}
	return errors.New("Unsupported resource type")
}

func validateScalar(name string, v float64) error {
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return errors.New("Invalid scalar resource: not a finite number")
	case v < 0:
		return errors.New("Invalid scalar resource: value < 0")
	case v >= math.MaxInt64/1000:
		return errors.New("Invalid scalar resource: value is too large")
	case v > 0 && FromFloat(v) == 0:
		return errors.New("Invalid scalar resource: value is below the precision of 0.001")
	case name == "gpus" && FromFloat(v)%1000 != 0:
		return errors.New("The 'gpus' resource must be an unsigned integer")
	}
	return nil
}

func validateRanges(v *mesos.Value_Ranges) error {
	for _, r := range v.GetRange() {
		if r.GetBegin() > r.GetEnd() {
			return errors.New("Invalid ranges resource: begin > end")
		}
	}
	// What does not overlap keeps its numbers when it is joined.
	var apart, joined uint64
	for _, r := range v.GetRange() {
		apart += r.GetEnd() - r.GetBegin() + 1
	}
	for _, r := range RangesOf(v) {
		joined += r.End - r.Begin + 1
	}
	if apart != joined {
		return errors.New("Invalid ranges resource: overlapping ranges")
	}
	return nil
}

func validateDisk(r *mesos.Resource) error {
	d := r.Disk
	if d == nil {
		return nil
	}
	if r.GetName() != "disk" {
		return fmt.Errorf("DiskInfo should not be set for %s resource", r.GetName())
	}
	s := d.GetSource()
	switch {
	case s == nil:
	case s.GetType() == mesos.Resource_DiskInfo_Source_UNKNOWN:
		return errors.New("Unsupported 'DiskInfo.Source.Type'")
	case s.GetType() != mesos.Resource_DiskInfo_Source_BLOCK && s.GetType() != mesos.Resource_DiskInfo_Source_RAW:
	case s.Mount != nil:
		return fmt.Errorf("Mount should not be set for %s disk source", s.GetType())
	case s.Path != nil:
		return fmt.Errorf("Path should not be set for %s disk source", s.GetType())
	}
	if d.Volume != nil && d.Persistence == nil {
		return errors.New("Non-persistent volume not supported")
	}
	return nil
}

// validateOldForm checks role and reservation where there is no stack.
func validateOldForm(r *mesos.Resource) error {
	if r.GetRole() != AnyRole {
		if err := badRole(r.GetRole()); err != nil {
			return err
		}
	}
	switch info := r.Reservation; {
	case info == nil:
	case info.Type != nil:
		return errors.New("'Resource.ReservationInfo.type' must not be set for the 'Resource.reservation' field")
	case info.Role != nil:
		return errors.New("'Resource.ReservationInfo.role' must not be set for the 'Resource.reservation' field")
	case r.GetRole() == AnyRole:
		return errors.New(`Invalid reservation: role "*" cannot be dynamically reserved`)
	}
	return nil
}

func validateStack(r *mesos.Resource) error {
	for i, info := range r.Reservations {
		switch {
		case info.Type == nil:
			return errors.New("Invalid reservation: 'Resource.ReservationInfo.type' field must be set.")
		case info.Role == nil:
			return errors.New("Invalid reservation: 'Resource.ReservationInfo.role' field must be set.")
		case info.GetRole() == AnyRole:
			return errors.New(`Invalid reservation: role "*" cannot be reserved`)
		case info.GetType() == mesos.Resource_ReservationInfo_UNKNOWN:
			return errors.New("Unsupported 'Resource.ReservationInfo.Type'")
		}
		if err := badRole(info.GetRole()); err != nil {
			return err
		}
		if i == 0 {
			continue
		}
		if info.GetType() == mesos.Resource_ReservationInfo_STATIC {
			return errors.New("Invalid refined reservation: A refined reservation cannot be STATIC")
		}
		if above := r.Reservations[i-1].GetRole(); !IsSubrole(info.GetRole(), above) {
			return fmt.Errorf("Invalid refined reservation: role '%s' is not a refinement of '%s'", info.GetRole(), above)
		}
	}
	if len(r.Reservations) > 1 {
		if r.Role != nil || r.Reservation != nil {
			return errors.New("Invalid resource format: 'Resource.role' and 'Resource.reservation' must not be set if there is more than one reservation in 'Resource.reservations'")
		}
		return nil
	}
	return validateMixture(r)
}

// validateMixture checks that both formats, where both are given, say the same.
func validateMixture(r *mesos.Resource) error {
	info := r.Reservations[0]
	if r.Role != nil && r.GetRole() != info.GetRole() {
		return fmt.Errorf("Invalid resource format: 'Resource.role' field with '%s' does not match the role '%s' in 'Resource.reservations'", r.GetRole(), info.GetRole())
	}
	if info.GetType() == mesos.Resource_ReservationInfo_STATIC {
		if r.Reservation != nil {
			return errors.New("Invalid resource format: 'Resource.reservation' must not be set if the single reservation in 'Resource.reservations' is STATIC")
		}
		return nil
	}
	switch {
	case (r.Role != nil) != (r.Reservation != nil):
		return errors.New("Invalid resource format: 'Resource.role' and 'Resource.reservation' must either be both set or both not set if the single reservation in 'Resource.reservations' is DYNAMIC")
	case r.Reservation == nil:
	case r.Reservation.GetPrincipal() != info.GetPrincipal():
		return errors.New("Invalid resource format: 'Resource.reservation.principal' does not match the principal in 'Resource.reservations'")
	case !sameLabels(r.Reservation.GetLabels().GetLabels(), info.GetLabels().GetLabels()):
		return errors.New("Invalid resource format: 'Resource.reservation.labels' does not match the labels in 'Resource.reservations'")
	}
	return nil
}
