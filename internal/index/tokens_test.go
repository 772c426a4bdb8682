package index

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
)

func TestTokens(t *testing.T) {
	ctx := t.Context()
	db := openForTest(t, t.TempDir())
	ann := conan.Actor{Name: "ann", Address: "::1"}
	bot := Token{Name: "bot", SHA256: sumOf(1), Owner: "ann", Rights: `{"read":true}`, Created: noon, Expires: noon.Add(time.Hour)}
	failsWith(t, "create", db.CreateToken(ctx, bot, ann), nil)
	again := Token{Name: "bot", SHA256: sumOf(2), Owner: "bob", Rights: "{}", Created: noon}
	failsWith(t, "a name that is taken", db.CreateToken(ctx, again, ann), conan.ErrConflict)
	other := Token{Name: "ape", SHA256: sumOf(2), Owner: "bob", Rights: "{}", Created: noon}
	failsWith(t, "create", db.CreateToken(ctx, other, conan.Actor{Name: "bob"}), nil)

	tokens := func(owner string) []Token {
		list, err := db.Tokens(ctx, owner)
		failsWith(t, "list", err, nil)
		return list
	}
	if diff := cmp.Diff([]Token{other, bot}, tokens("")); diff != "" {
		t.Errorf("all (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]Token{bot}, tokens("ann")); diff != "" {
		t.Errorf("those of ann (-want +got):\n%s", diff)
	}
	found, err := db.TokenOf(ctx, sumOf(1))
	failsWith(t, "find", err, nil)
	same(t, "found", found, bot)
	_, err = db.TokenOf(ctx, sumOf(3))
	failsWith(t, "an unknown secret", err, conan.ErrNotFound)

	failsWith(t, "revoke another's", db.RevokeToken(ctx, "bot", "bob", ann, noon), conan.ErrNotFound)
	failsWith(t, "revoke", db.RevokeToken(ctx, "bot", "ann", ann, noon), nil)
	failsWith(t, "revoke again", db.RevokeToken(ctx, "bot", "", ann, noon), conan.ErrNotFound)
	_, err = db.TokenNamed(ctx, "bot")
	failsWith(t, "find after revoking", err, conan.ErrNotFound)

	lines, err := db.AuditLines(ctx, AuditFilter{User: "ann", Limit: 10})
	failsWith(t, "audit", err, nil)
	var actions []string
	for _, l := range lines {
		actions = append(actions, fmt.Sprintf("%s %s %s from %s", l.By.Name, l.Action, l.Target, l.By.Address))
	}
	if diff := cmp.Diff([]string{"ann token_revoke bot from ::1", "ann token_create bot from ::1"}, actions); diff != "" {
		t.Errorf("audit (-want +got):\n%s", diff)
	}
}

func TestTheLastUsesOfTokens(t *testing.T) {
	ctx := t.Context()
	db := openForTest(t, t.TempDir())
	for i, name := range []string{"bot", "ape"} {
		failsWith(t, "create", db.CreateToken(ctx, Token{Name: name, SHA256: sumOf(i), Owner: "ann", Created: noon}, conan.Actor{}), nil)
	}
	later := noon.Add(time.Minute)
	for _, used := range []map[string]time.Time{{"bot": later, "gone": noon}, {"bot": noon}} { // a later use stays
		failsWith(t, "use", db.TokensUsed(ctx, used), nil)
		got, err := db.TokenNamed(ctx, "bot")
		failsWith(t, "find", err, nil)
		same(t, "last use", got.LastUse, later)
	}
	got, err := db.TokenNamed(ctx, "ape")
	failsWith(t, "find another", err, nil)
	same(t, "last use of another", got.LastUse, time.Time{})
}

func TestAnOwnerHasSoManyTokens(t *testing.T) {
	ctx := t.Context()
	db := openForTest(t, t.TempDir())
	create := func(i int, owner string) error {
		return db.CreateToken(ctx, Token{Name: fmt.Sprint(owner, i), SHA256: fmt.Sprint(owner, i), Owner: owner, Created: noon}, conan.Actor{})
	}
	for i := range MostTokens {
		failsWith(t, "create", create(i, "ann"), nil)
	}
	failsWith(t, "one more", create(MostTokens, "ann"), conan.ErrConflict)
	failsWith(t, "another's", create(0, "bob"), nil)
}
