package config

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes, written like 50GiB, 512MiB or 1048576.
type Size int64

var errSize = errors.New("is not a size like 50GiB, 512MiB or 4KiB")

// ParseSize reads a whole number with one of the units B, KiB, MiB, GiB and TiB; without a unit it
// is bytes. Libraries also take units and fractions whose meaning is not plain, such as 1.5G.
func ParseSize(text string) (Size, error) {
	digits := strings.TrimRight(text, "BKMGTi")
	shift, ok := sizeUnits(text[len(digits):])
	if !ok {
		return 0, errSize
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || n > math.MaxInt64>>shift {
		return 0, errSize
	}
	return Size(n << shift), nil
}

func sizeUnits(unit string) (shift uint, ok bool) {
	switch unit {
	case "", "B":
		return 0, true
	case "KiB":
		return 10, true
	case "MiB":
		return 20, true
	case "GiB":
		return 30, true
	case "TiB":
		return 40, true
	}
	return 0, false
}

// String uses the largest unit that needs no fraction.
func (s Size) String() string {
	if s == 0 {
		return "0"
	}
	for _, unit := range []string{"TiB", "GiB", "MiB", "KiB"} {
		if shift, _ := sizeUnits(unit); s%(1<<shift) == 0 {
			return strconv.FormatInt(int64(s>>shift), 10) + unit
		}
	}
	return strconv.FormatInt(int64(s), 10)
}
