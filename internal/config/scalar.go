package config

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// isScalar tells the types that are one word in the file from sections and lists.
func isScalar(t reflect.Type) bool {
	switch reflect.Zero(t).Interface().(type) {
	case string, bool, int, time.Duration, Size, netip.Prefix:
		return true
	}
	return false
}

// setScalar parses text into v. The error is a phrase to stand behind the name of the key.
func setScalar(v reflect.Value, text string) error {
	if err := checkText(text); err != nil {
		return err
	}
	var err error
	switch p := v.Addr().Interface().(type) {
	case *string:
		*p = text
	case *bool:
		if text != "true" && text != "false" {
			return fmt.Errorf("%.60q is not true or false", text)
		}
		*p = text == "true"
	case *int:
		if *p, err = strconv.Atoi(text); err != nil {
			return fmt.Errorf("%.60q is not a whole number", text)
		}
	case *time.Duration:
		if *p, err = time.ParseDuration(text); err != nil {
			return fmt.Errorf("%.60q is not a duration like 30s, 5m or 720h", text)
		}
	case *Size:
		if *p, err = ParseSize(text); err != nil {
			return fmt.Errorf("%.60q %w", text, err)
		}
	case *netip.Prefix:
		if *p, err = netip.ParsePrefix(text); err != nil {
			return fmt.Errorf("%.60q is not a network like 10.0.0.0/8 or fd00::/8", text)
		}
		*p = p.Masked()
	default:
		return fmt.Errorf("values of type %T cannot be read", p)
	}
	return nil
}

// checkText refuses what no setting needs and what would break lines of logs and errors.
func checkText(text string) error {
	if !utf8.ValidString(text) {
		return errors.New("is not UTF-8 text")
	}
	if strings.IndexFunc(text, unicode.IsControl) >= 0 {
		return errors.New("has a control character")
	}
	return nil
}

// scalarText is the text that setScalar reads back.
func scalarText(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case time.Duration:
		return durationText(x)
	case string:
		return x
	default:
		return fmt.Sprint(x)
	}
}

// durationText leaves the zero minutes and seconds off: 24h, not 24h0m0s.
func durationText(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// keyOf is the key of a field in the file.
func keyOf(f reflect.StructField) string { return f.Tag.Get("yaml") }

// join is the path of a key, as errors show it.
func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
