// The page is whole without this. It looks again when the delegate says that something changed, and follows a log.
'use strict';
(() => {
  const LOOK_MIN = 2000; // milliseconds between two looks
  const LINES_MAX = 5000; // lines kept on the page
  const live = document.getElementById('live');
  const log = document.getElementById('log');

  const say = (word) => {
    if (live && live.textContent !== word) {
      live.textContent = word;
      live.className = word === 'live' ? 'on' : 'off';
    }
  };

  // Times are the server's words; what exactly they mean is told in the browser's zone.
  const localise = (root) => {
    for (const time of root.querySelectorAll('time[datetime]')) {
      time.title = new Date(time.dateTime).toLocaleString();
    }
  };

  // A part that somebody is using stays as it is.
  const isUsed = (part) => part.contains(document.activeElement) || part.querySelector('details[open]');

  const replace = (fresh) => {
    for (const part of document.querySelectorAll('[data-live]')) {
      const next = fresh.getElementById(part.id);
      if (next && next.innerHTML !== part.innerHTML && !isUsed(part)) {
        localise(next);
        part.replaceWith(next);
      }
    }
  };

  let timer = 0;
  let lookedAt = performance.now();
  const look = async () => {
    timer = 0;
    lookedAt = performance.now();
    try {
      const answer = await fetch(location.href, { headers: { accept: 'text/html' } });
      if (answer.ok) {
        replace(new DOMParser().parseFromString(await answer.text(), 'text/html'));
        say('live');
      }
    } catch {
      say('offline');
    }
  };
  const lookSoon = () => {
    if (!timer) {
      timer = setTimeout(look, Math.max(0, lookedAt + LOOK_MIN - performance.now()));
    }
  };

  // === a log ===

  const follow = (path) => {
    const source = new EventSource(path);
    source.onopen = () => say('live');
    source.onerror = () => say('offline');
    source.addEventListener('lines', (event) => {
      const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
      log.insertAdjacentHTML('beforeend', event.data);
      document.getElementById('log-end').textContent = '';
      while (log.childElementCount > LINES_MAX) {
        log.firstElementChild.remove();
      }
      if (isAtEnd) {
        log.scrollTop = log.scrollHeight;
      }
    });
    source.addEventListener('end', () => {
      source.close();
      say('');
      document.getElementById('log-end').textContent = 'The log is closed: that is all of it.';
    });
    return source;
  };

  // === both ===

  const watch = () => {
    const source = new EventSource('/ui/live');
    source.addEventListener('change', lookSoon);
    source.onopen = () => say('live');
    source.onerror = () => say('offline');
    return source;
  };

  localise(document);
  if (log) {
    log.scrollTop = log.scrollHeight;
    if (log.dataset.stream) {
      follow(log.dataset.stream);
    }
  } else if (document.querySelector('[data-live]')) {
    // A tab that nobody looks at asks for nothing.
    let source = document.hidden ? null : watch();
    document.addEventListener('visibilitychange', () => {
      if (document.hidden) {
        source?.close();
        source = null;
      } else if (!source) {
        source = watch();
      }
    });
  }
})();
