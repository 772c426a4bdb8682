package blob

import (
	"context"
	"errors"
	"io"

	"go.uber.org/zap"
)

// Verify reads the object of a blob, and its copy in the tier, and tells whether the object has its
// digest. wait, if not nil, is called with the number of bytes before they are read. Errors:
// ErrNotFound, ErrUnavailable, or reading failed.
func (t *Tiered) Verify(ctx context.Context, d Digest, wait func(context.Context, int) error) (bool, error) {
	o, err := t.find(ctx, d)
	if err != nil {
		return false, err
	}
	if err := t.verifyCopy(ctx, d, wait); err != nil {
		return false, err
	}
	return t.intactObject(ctx, o, wait)
}

// verifyCopy reads the copy in the tier, if there is one. One that is damaged or cannot be read is
// removed: it says nothing about the object. The only error is that of ctx.
func (t *Tiered) verifyCopy(ctx context.Context, d Digest, wait func(context.Context, int) error) error {
	good, err := t.disk.Verify(ctx, d, wait)
	if err == nil && !good {
		err = errDamaged
	}
	if err == nil || errors.Is(err, ErrNotFound) || ctx.Err() != nil {
		return ctx.Err()
	}
	t.dropCopy(d, err)
	return nil
}

// SetAside ends that the object of a blob is served; it is removed after 30 days. If the tier has
// an intact copy, that is uploaded in its place, unless the blob is orphaned.
func (t *Tiered) SetAside(ctx context.Context, d Digest, why Aside) error {
	o, err := t.find(ctx, d)
	if err != nil {
		return err
	}
	if err := t.keys.SetObjectAside(ctx, o.Key); err != nil {
		return err
	}
	t.log.Warn("an object is set aside", zap.String("key", o.Key), zap.String("why", string(why)))
	if why == Orphaned {
		return nil
	}
	return t.uploadCopy(ctx, d)
}

// uploadCopy uploads the copy in the tier if it is there and intact.
func (t *Tiered) uploadCopy(ctx context.Context, d Digest) error {
	f, err := t.openTier(ctx, d, -1)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	hash := NewHasher()
	if _, err := io.Copy(hash, f); err != nil {
		t.dropCopy(d, err)
		return nil
	}
	sums := hash.Sums()
	if sums.SHA256 != d {
		t.dropCopy(d, errDamaged)
		return nil
	}
	key, err := t.upload(ctx, f, sums)
	if err != nil {
		return err
	}
	return t.name(ctx, key, sums, nil)
}

// TakeBack tells whether a blob has a stored object. If it has none, one that was set aside becomes
// that again, if its bytes are right now and a revision names the blob.
func (t *Tiered) TakeBack(ctx context.Context, d Digest) (bool, error) {
	if _, err := t.find(ctx, d); !errors.Is(err, ErrNotFound) {
		return err == nil, err
	}
	aside, err := t.keys.AsideObjects(ctx, d)
	if err != nil {
		return false, err
	}
	for _, o := range aside {
		good, err := t.intactObject(ctx, o, nil)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return false, err
		}
		if !good {
			continue
		}
		t.log.Warn("an object that was set aside is intact and is taken back", zap.String("key", o.Key))
		if err := t.keys.TakeObjectBack(ctx, o); err != nil {
			return false, err
		}
		break
	}
	_, err = t.find(ctx, d)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Copies is a Tiered of which Verify reads only the copies in the tier: the objects are the
// business of their server, and reading them all again and again may cost money.
type Copies struct{ *Tiered }

// Verify reads the copy in the tier, if there is one; one that is damaged or cannot be read is
// removed. A blob without an object is ErrNotFound.
func (c Copies) Verify(ctx context.Context, d Digest, wait func(context.Context, int) error) (bool, error) {
	if _, err := c.find(ctx, d); err != nil {
		return false, err
	}
	err := c.verifyCopy(ctx, d, wait)
	return err == nil, err
}
