package conanserver

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

const conf = `[server]
jwt_secret: secret
custom_authenticator: ldap_plugin
# custom_authorizer: none

[write_permissions]
opencv/2.3.4@lasote/testing: default_user, default_user2
zlib/1.3@*/*: ann
*/*@acme/* = ann,
    bob
*/1.0@*/*: ann
lib/1*@*/*: ann
zlib/1.3: ann
broken: ann
strange/*@*/*: ann bob

[read_permissions]
internal/*@*/*: ?
; the rest
*/*@*/*: *

[users]
demo: de mo:1
Ann = secret
`

func TestTranslate(t *testing.T) {
	want := Rules{
		Users: []string{"Ann", "demo"},
		Read:  []Rule{{"*@{user}/*", []string{"?"}}, {"internal/*", []string{"?"}}, {"*/*", []string{"*"}}},
		Write: []Rule{
			{"*@{user}/*", []string{"?"}}, {"opencv/2.3.4@lasote/testing", []string{"default_user", "default_user2"}},
			{"zlib/1.3", []string{"ann"}}, {"zlib/1.3@*", []string{"ann"}}, {"*/*@acme/*", []string{"ann", "bob"}},
		},
		Problems: []string{
			"custom_authenticator: ldap_plugin is a program of its own; its users and rights are not in this file",
			`the rule "*/1.0@*/*" of [write_permissions]: no pattern matches exactly these references`,
			`the rule "lib/1*@*/*" of [write_permissions]: no pattern matches exactly these references`,
			`the rule "zlib/1.3" of [write_permissions]: no pattern matches exactly these references`,
			`the rule "broken" of [write_permissions]: no pattern matches exactly these references`,
			`the rule "strange/*@*/*" of [write_permissions]: "ann bob" is not a list of users`,
		},
	}
	if diff := cmp.Diff(want, Translate(conf, true)); diff != "" {
		t.Error(diff)
	}
	if got := Translate(conf, false).Read; len(got) != 2 {
		t.Errorf("rules of 2.x: %v", got)
	}
}
