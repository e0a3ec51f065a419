//! Verdicts, collisions, names of every script, and attacks on them.

use icu_properties::props::GeneralCategory;
use std::net::SocketAddr;
use unicode_normalization::UnicodeNormalization;

use super::characters::category;
use super::impersonation::CHECK_MARKS;
use super::{CharacterFault, NameError, Username, UsernameKey, skeleton};

const OWN: &str = "127.0.0.1:57354";

/// Rows of `VERDICT, REASON: NAME|NAME`. The verdict is a part of the result's `Debug` text.
const VERDICTS: &str = "
    Ok, ordinary: alice|O'Brien|Dr. Who|a/b|user_42|C++|<3|a|@alice|#1|a:b|x::y|a,b|7 of 9|1:2:3|v12:30
    Ok, ordinary: a>b|alice (away)|alice [x]|alice (private) 2|private|left the chat|renamed|~|^_^|🦀|“Ada”|-Ada-
    Ok, ordinary: 127.0.0.1|::1|a :b|x>y|alice$|a;
    Ok, whole emoji: ❤|👍\u{FE0F}|a❤️b|1️⃣2️⃣|☺️ me ☺️|👁‍🗨|x🐻‍❄️y
    Empty, spaces: | |   |\u{A0}\u{3000}\u{2009}|\u{1680}

    Misplaced, joiner: 👨\u{200D}|\u{200D}👧|👨\u{200D}\u{200D}👩|👨\u{200D}x|👨\u{200D}🚗
    Misplaced, selector: a\u{FE0F}|1\u{FE0F}|❤️\u{FE0F}|❤️\u{301}|❤\u{FE0E}
    Misplaced, flag: 🇨🇿🇸|🇽🇽|🇨\u{FE0F}
    Misplaced, tag: a\u{E0067}\u{E007F}|🏴\u{E0067}\u{E0062}|🏴\u{E0061}\u{E0061}\u{E007F}
    Misplaced, tag: 👍\u{E0067}\u{E0062}\u{E007F}
    Ok, joiner: می\u{200C}خواهم|مِ\u{200C}خ|क्\u{200D}ष|क्\u{200C}ष|ශ්\u{200D}රී
    Misplaced, non-joiner: a\u{200C}b|\u{200C}می|می\u{200C}|می\u{200C} خ|ا\u{200C}ب
    Misplaced, non-joiner: می\u{200C}\u{200C}خ|क\u{200C}ष|क्\u{200C}\u{200C}ष|می\u{200C}x
    Misplaced, joiner: a\u{200D}b|م\u{200D}|क\u{200D}ष|क्\u{200D}\u{200D}ष|\u{200D}क्ष
    Misplaced, joiner after a moved accent: क\u{301}\u{94D}\u{200D}ष
    Loose, mark:   \u{301}a|¯\\_(ツ)_/¯|´
    Ok, marks: a \u{20DD}|z\u{336}\u{336}\u{336}\u{336}z|\u{1EBF}\u{336}\u{336}
    TooManyMarks, on one letter: z\u{336}\u{336}\u{336}\u{336}\u{336}|e\u{302}\u{301}\u{307}\u{308}\u{309}
    TooManyMarks, on a letter with two: \u{1EBF}\u{336}\u{336}\u{336}
    TooManyMarks, enclosing: a\u{20DD}\u{20DD}\u{20DD}\u{20DD}\u{20DD}
    TooManyMarks, with joiners: क्\u{200D}्\u{200D}्\u{200D}्\u{200D}्\u{200D}
    TooManyMarks, with a width: क\u{93E}\u{93E}\u{93E}\u{93E}\u{93E}

    Reserved, case: [Server]|[server]|[SERVER]|[ſERVEr]
    Reserved, spaces:  [Server]\u{3000}|[\u{2009}Server\u{A0}]|[S e r ver]
    Reserved, Cyrillic: [Ѕеrvеr]|[ЅЕRVЕR]|[Serveг]
    Reserved, Greek: [Serνer]|[SΕRVΕR]
    Reserved, Armenian and Cherokee: [Տerver]|[ᏚᎬᎡᏙᎬᎡ]|[Ꮪerver]
    Reserved, fullwidth: ［Ｓｅｒｖｅｒ］
    Reserved, mathematical: [𝐒𝐞𝐫𝐯𝐞𝐫]|[𝔖𝔢𝔯𝔳𝔢𝔯]|[𝚂𝚎𝚛𝚟𝚎𝚛]|[𝕊𝕖𝕣𝕧𝕖𝕣]
    Reserved, superscript and circled and squared: [ˢᵉʳᵛᵉʳ]|[Ⓢⓔⓡⓥⓔⓡ]|[🅂🄴🅁🅅🄴🅁]
    Reserved, accents: [Se\u{301}rver]|[S\u{E9}rver]|[Ṡḛṙṽḝṛ]
    Reserved, other marks: [S̶e̶r̶v̶e̶r̶]|[S\u{20DD}erver]|[Sɇrver]
    Reserved, small capitals: [ꜱᴇʀᴠᴇʀ]|[Sᴇʀᴠᴇʀ]
    Reserved, white on black: [🆂🅴🆁🆅🅴🆁]|[🅢🅔🅡🅥🅔🅡]
    Reserved, lenticular and white brackets: 【Server】|⟦Server⟧|〚Ѕеrvеr〛
    Reserved, other brackets: ⁅Server⁆|〔Server〕|❲Server❳|「Server」|﹝Server﹞
    Reserved, every bracket and sign: (Server)|{Server}|[Server|Server]|((Server))|⌈Server⌉|-Server-|Server.|Server!|~ Server ~|*Server*
    Reserved, signs: ⚙ Server|🛡️ Admin|Ser.ver|S-e-r-v-e-r|“Server”|«Server»|│Server│|Server：|Server >
    Reserved, digits for letters: [5erver]|5erver|S3rv3r|$erver|Adm1n|@dmin|@admin|Adm!n|R00T|r007|0perat0r|M0derat0r|5y5+em
    Reserved, roles: Server|System|SYSTEM|operator|Moderator|admin|root|Administrator|SysOp|sysadmin|server admin|System Operator|Mod|Servers|Moderators|m0ds
    Reserved, a word is a role: Server Notice|the Server|admin_team|Chat-Admins|[x] 5erver!|Solar System
    Reserved, a word with signs or a number: │Server│ Notice|Server│ Notice|Server│Chat|server@home|S.e.r.v.e.r Notice|Ser-ver Notice|Admin1|Server1|admin5|@dmin team
    Reserved, roles in other letters: Аdmіn|ROOΤ|Ｓｙｓｔｅｍ|𝐌𝐨𝐝𝐞𝐫𝐚𝐭𝐨𝐫|ᴀᴅᴍɪɴ|🆁🅾🅾🆃|Ⓡⓞⓞⓣ|Ádmïn|adrnin|Systern
    Ok, no role: Roots|Grass Roots|Root 2|Server 2|Server 55.1df|2 admins|R2D2|Service|Observer|Сервер|Админ|Joe Root|Rooty|Adminah|Servername|Modesty|systemic|Sysiphos|Op|roo|a d m
    Ok, no role: ᴀʟɪᴄᴇ|🅰🅱|ʔəɪ

    BeginsLikeLine, brackets: [bot]|(Ada)|{Ada}|[Ada|(|]Ada|)|[Staff] Notice|［Ada］|﹙Ada|⁽Ada|⑴ Ada|🄐da
    BeginsLikeLine, other brackets: 【山田】|「さくら」|『花』|⟨bra⟩|⟦Ada⟧|⁅Ada⁆|〔Ada〕|❲Ada❳|❴Ada❵|⌈Ada⌉|⸢Ada⸥|༺Ada༻|᚛Ada᚜|﴾محمد﴿|⎡Ada⎤|⌜Ada⌟
    BeginsLikeLine, marks and spaces: [\u{332}Ada|  [Ada|\u{3000}(Ada|(\u{20DD}Ada
    BeginsLikeLine, asterisks: * Ada|*|*Ada*|＊Ada|﹡Ada|∗ Ada|⁎Ada|✱ Ada|✲ Ada|٭ محمد|⁂ Ada|✳️ Ada|*️⃣ Ada
    BeginsLikeLine, times: 12:00 Ada|12:30|7:05|07:05:33 Ada|23:59Ada|1２:00|１２：００ Ada|12∶00|12꞉00|12 :00 Ada|99:99
    BeginsLikeLine, times in other digits: ١٢:٣٠|۱۲:۳۰ علی|१२:३० मीरा|๑๒:๓๐|①②:③⓪|𝟏𝟐:𝟎𝟎|1️⃣2️⃣:0️⃣0️⃣|12៖00|l2:OO|IO:l5|1О:00
    ListSeparator, commas: Ada, Bob|Ada,  Bob|Ada，\u{3000}Bob|Ada‚ Bob|Ada، Bob|محمد، علی|Ada፣ Bob|Ada⸲ Bob|Ada,\u{332} Bob
    ListSeparator, ideographic: 太郎、花子|太郎､花子|太郎、
    Ok, no list: Ada,Bob|Ada ,Bob|1,000|محمد،علی
    CheckMark, at the end: Ada ✓|Ada✓|Ada ✔|Ada ✔️|Ada ✅|Ada ☑️|Ada ☑|Ada 🗸|Ada √|Ada ✓.|Ada (✓)|Ada ✓🌸|山田✅
    CheckMark, at the beginning: ✓ Ada|✅Ada|-✓- Ada|✓|✅✅
    Ok, within: Ada ✓ Bob|Ada ✗|Ada ✨
    MixedScripts, in a word: Vlаdimir|Оlga|paypаl|Αda|λ-calculus|Ada한а|山дa|alicе|ραypal|Էva|ᎪᎠa|aक
    MixedScripts, marks: \u{E9}\u{94D}\u{200D}ष
    Ok, highly restrictive: 山田Taro|Taro山田|김Kim|ㄅㄆa山|みカ山a|Владимир VI|Анна (Anna)|Ёжик42|م٣|Ольга2|Ada 🌸

    LooksLikeAddress, plain: 10.0.0.1:5555|0.0.0.0:0|255.255.255.255:65535|127.0.0.1:57355
    LooksLikeAddress, large port: 10.0.0.1:65536|10.0.0.1:9999999999999999999999
    LooksLikeAddress, spaces:  10.0.0.1:80|10.0.0.1: 80|10.0.0.1 :80|10 .0 .0 .1 :80
    LooksLikeAddress, zeros: 010.000.0.001:080|[::ffff:010.0.0.1]:80|[::00001]:80|[000000:0::1]:80
    LooksLikeAddress, letters for digits: lO.o.O.I:8O|1O.0.0.1:5555|127.O.O.l:57354|[::l]:80
    LooksLikeAddress, Cyrillic and Greek: 1О.0.0.1:80|1Ο.0.0.1:80|10.0.0.1:З0
    LooksLikeAddress, fullwidth: １０．０．０．１：８０|［::1］：80|[２００１:ｄｂ８::ａ]:80
    LooksLikeAddress, mathematical: 𝟏𝟎.𝟎.𝟎.𝟏:𝟖𝟎
    LooksLikeAddress, superscript and circled: ¹⁰.⁰.⁰.¹:⁸⁰|₁₀.₀.₀.₁:₈₀|①⓪.⓪.⓪.①:80
    LooksLikeAddress, stops and keycaps: ⒑0.0.1:80|⒈⒈⒈1:80|1️⃣0️⃣.0.0.1️⃣:80
    LooksLikeAddress, marks: 1\u{332}0.0.0.1:80|10\u{20DD}.0.0.1:80
    LooksLikeAddress, dots and colons: 10․0․0․1:80|10.0.0.1∶80|10.0.0.1꞉80
    LooksLikeAddress, IPv6: [::1]:80|[::]:80|[2001:DB8::A]:80|[2001:db8:0:0::a]:80|[fe80::1%eth0]:80
    LooksLikeAddress, IPv6 look-alikes: [2ool:db8::l]:8o|[2001:dЬ8::а]:80
    LooksLikeAddress, IPv4 in IPv6: [::ffff:10.0.0.1]:80|[::ffff:a00:1]:80
    LooksLikeAddress, brackets: ::1:80|[::1:80|::1]:80|[[::1]]:80|[[::1]:80]|[10.0.0.1]:80
    LooksLikeAddress, brackets: [10.0.0.1:80]
    LooksLikeAddress, Arabic and Persian digits: ١٠.٠.٠.١:٨٠|۱۰.۰.۰.۱:۸۰|[::١]:80
    LooksLikeAddress, Indic digits: १०.०.०.१:८०|১০.০.০.১:৮০
    LooksLikeAddress, Thai and Burmese and Adlam digits: ๑๐.๐.๐.๑:๘๐|၁၀.၀.၀.၁:၈၀|𞥑𞥐.𞥐.𞥐.𞥑:𞥘𞥐
    LooksLikeAddress, mixed digits: 1٠.0.0.१:8๐
    LooksLikeAddress, full stops: 10。0。0。1:80|１０｡０｡０｡１：８０|۱۰۔۰۔۰۔۱:۸۰
    Ok, no address: 10.0.0.1|::1|10.0.0:80|10.0.0.0.1:80|10.0.0.256:80|1:2:3|v1.2.3.4:5
    Ok, no address: example.org:80|localhost:80|127.0.0.1:http|a.b.c.d:80|10.0.0.1:80/x
    Ok, no address: ๒๕๖๗|राम१

    EndsLikeSource, colon: alice:|alice :|:|alice: |alice:\u{301}|alice:\u{307}
    EndsLikeSource, colon look-alikes: alice：|alice﹕|alice︓|alice∶|alice꞉|aliceː|alice˸|aliceꓽ
    EndsLikeSource, stops of other scripts: alice։|alice׃|alice᛬|राम։
    EndsLikeSource, colons unknown to UTS 39: alice⦂|alice⁚|alice៖|alice᠄
    EndsLikeSource, visargas after Latin: aliceः|aliceঃ|aliceଃ|aliceః|aliceಃ|aliceഃ|aliceඃ|aliceཿ
    EndsLikeSource, vowel signs after Latin: aliceး|aliceះ
    EndsLikeSource, greater than: alice>|>|->|alice>>>|alice＞|alice﹥|alice›|alice❯|alice≯|aliceᐳ
    Separator, colon: a: b|[Staff]: bye|a:\u{2003}b|a:\u{3000}b|a:\u{332} b|a:\u{307} b
    Separator, colon look-alikes: a： b|a∶ b|aː b|a׃ b|a։ b|aः b|aliceঃ bob|alice⦂ bob
    Ok, ends of words in their own script: रामः|रामः सीता|નમઃ|ᐃᓄᒃᐳ|ꓐꓬꓽ|क्\u{200D}ः|নমঃ শিবায়|ဦး ဝင်း|ព្រះ|නමඃ

    has entered the chat, case: bob has entered the chat|bob HAS ENTERED THE CHAT
    has left the chat, case: bob has left the chat|has left the chat!|(has left the chat)
    has left the chat, case: HAS LEFT THE CHAT
    has left the chat, spaces: bob has\u{3000}left\u{2003}the chat|bob has   left the chat
    has left the chat, Cyrillic and digits: bоb hаs lеft thе сhаt|bob has 1eft the chat
    has left the chat, fullwidth and mathematical: ｈａｓ ｌｅｆｔ ｔｈｅ ｃｈａｔ|𝐡𝐚𝐬 𝐥𝐞𝐟𝐭 𝐭𝐡𝐞 𝐜𝐡𝐚𝐭
    has left the chat, superscript and marks: ʰᵃˢ ˡᵉᶠᵗ ᵗʰᵉ ᶜʰᵃᵗ|bob h̷a̷s̷ left the chat
    has left the chat, small capitals and squares: bob ʜᴀꜱ ʟᴇꜰᴛ ᴛʜᴇ ᴄʜᴀᴛ|bob 🅷🅰🆂 🅻🅴🅵🆃 🆃🅷🅴 🅲🅷🅰🆃
    renamed to, marks: bob renamed to eve|bob rena\u{336}med to|bob renarned to eve|bob réñämed tö eve
    have entered the chat, summary: 9 users have entered the chat
    have left the chat, summary: 9 users have left the chat
    Ok, no notice: has left|chat|has left the party
    LooksPrivate, case: bob (private)|bob (PRIVATE)|bob\u{A0}(private)\u{A0}|bob （ｐｒｉｖａｔｅ）
    LooksPrivate, look-alikes: bob (рrіvаtе)|bob (𝓹𝓻𝓲𝓿𝓪𝓽𝓮)|bob ❨private❩|alice (ᴘʀɪᴠᴀᴛᴇ)
    LooksPrivate, marks: bob (prívate)|bob (p\u{332}rivate)|alice (pr1vate) (private) |x(private)
    Ok, not private: bob (privat)
";

/// Groups in which each name collides with the first.
const LOOK_ALIKES: &str = "
    alice|ALICE|аlice|АLICE|αlice|ɑlice|aⅼice|a1ice|aIice|ａｌｉｃｅ|𝒶𝓁𝒾𝒸ℯ|ᵃˡⁱᶜᵉ|ⓐⓛⓘⓒⓔ|аӏісе| alice\u{2009};
    amina|arnina; bob|ЬоЬ; SCOPE|ЅСОРЕ; K|\u{212A}; Ångström|\u{212B}ngstro\u{308}m; ﬁona|fiona;
    José|Jose\u{301}|JOSE\u{301}; Ǆemal|DŽEMAL; Straße|STRASSE|STRAẞE; İpek|i\u{307}pek; ırmak|IRMAK;
    Σίσυφος|ΣΊΣΥΦΟΣ; ᾳ|ΑΙ; ΑΝΝΑ|ANNA; Анна|АННА; Ծով|ԾՈՎ; ნინო|ᲜᲘᲜᲝ; ᏣᎳᎩ|ꮳꮃꭹ; 𐐨𐑊|𐐀𐐢;
    user0|userO|userО; user 3|user З; a-b|a‐b|a−b|a–b; O'Neill|O’Neill|Oʼneill; a b|a\u{A0}b;
    ガガ|ｶﾞｶﾞ; カロ|力口; 가나|\u{1100}\u{1161}\u{1102}\u{1161}; 豈|\u{F900}; علی|على;
    میخواهم|می\u{200C}خواهم; क्ष|क्\u{200D}ष; ❤|❤\u{FE0F};
    12|12.|12!|12…|12?!|12_|12-|12~|12¸|12ʼ|12’|12)|12 .|12。; a:30|a∶30; ...|.; Ada|Ada.|ada!|Ada ?";

/// Rows of common names in every living script. No two names of a row collide.
const SCRIPTS: &str = "
    Latin: Jürgen|Françoise|Łukasz|Þóra|Ngũgĩ|Nguyễn Văn Ế|Dvořák|Şükrü|D’Arcy|O'Neill|Mary-Jane
    Latin: Ọlábísí|Ɓala|Mʻahi|ʻIolani|J. R. R.|x_X_x|José|Jose|Zoë|Zoe|łódź|lodz|strase|strasse
    Greek: Γιώργος|Ελένη|Ἀλέξανδρος|ΆΝΝΑ|Μαΐου
    Cyrillic: Ольга|Олег|Пётр|Їжак|Ђорђе|Ўладзь|Қайрат|Өнөр|Ҷамшед
    Armenian: Արամ|Գոհար|Հովհաննես
    Georgian: გიორგი|ნინო|ᲜᲘᲜᲝ ა
    Arabic: محمد|محمود|مُحَمَّد|عبد الله|فاطمة|علی‌رضا|پژمان|ٹیپو|ڤان|گۈل
    Hebrew: דוד|שָׁלוֹם|רבקה בת־שבע|צ׳רלי|ז״ל
    Syriac: ܐܒܓܪ|ܝܘܚܢܢ
    Thaana: އަޙްމަދު|މަރިޔަމް
    N'Ko: ߒߞߏ|ߡߊ߬ߡߊ߬ߘߎ߫
    Devanagari: नरेन्द्र|श्रीमती|राजेश कुमार|क्‍षमा|ज़ोया|रामः
    Bengali: রবীন্দ্রনাথ|শ্যামলী|দুঃখ|নমঃ
    Gurmukhi: ਗੁਰਪ੍ਰੀਤ|ਸਿੰਘ|ਨਮਃ
    Gujarati: નરેન્દ્ર|મોહનદાસ|નમઃ
    Odia: ଓଡ଼ିଆ|ପ୍ରତିଭା|ନମଃ
    Tamil: தமிழ்ச்செல்வி|கமல்ஹாசன்|ஃ
    Telugu: రామారావు|శ్రీనివాస్|నమః
    Kannada: ಕನ್ನಡ|ಶ್ರೀಧರ|ನಮಃ
    Malayalam: മലയാളം|നാരായണൻ|നമഃ|അവന്‍
    Sinhala: සිංහල|ශ්‍රී ලංකා|නමඃ
    Thai: สมชาย|น้ำฝน|ใจดี|เก่ง|ญี่ปุ่น
    Lao: ສົມສັກ|ບຸນມີ|ນໍ້າ
    Khmer: សុខា|ខ្ញុំ|ចន្ទ្រា|ព្រះ
    Myanmar: အောင်ဆန်းစုကြည်|လျှော့|မောင်|ဦး|နေဝင်း
    Tibetan: བསྟན་འཛིན་|རྒྱ་མཚོ|ཨཿ
    Ethiopic: አበበ|ኃይለ ሥላሴ|ትዕግሥት
    Mongolian: ᠮᠣᠩᠭᠣᠯ|ᠪᠠᠲᠤ
    Cherokee: ᏣᎳᎩ|ᏎᏉᏯ
    Canadian: ᐃᓄᒃᑎᑐᑦ|ᐊᓈᓇ|ᐃᓄᒃᐳ
    Tifinagh: ⵜⵉⴼⵉⵏⴰⵖ|ⴰⵎⵣⵉⵖ
    Javanese: ꦗꦮ|ꦱꦫꦱ꧀ꦮꦠꦶ
    Balinese: ᬩᬮᬶ|ᬯᬬᬦ᭄
    Meetei Mayek: ꯃꯤꯇꯩ|ꯏꯕꯣꯃꯆꯥ
    Ol Chiki: ᱥᱟᱱᱛᱟᱲ|ᱨᱟᱹᱜᱷᱩ
    Chakma: 𑄌𑄋𑄴𑄟𑄳𑄦|𑄢𑄋𑄟𑄖𑄴𑄖𑄴
    Adlam: 𞤀𞤣𞤤𞤢𞤥|𞤆𞤵𞤤𞤢𞤪
    Vai: ꕙꔤ|ꗏꖺ
    Yi: ꆈꌠ|ꊿꋠ
    Han: 山田太郎|山田|山本|王小明|歐陽娜娜|𠮷野家|々木|〇五
    Kana: さくら|アリス|みゃー|ヴァン|ガガ|ｱﾘｽ様
    Hangul: 김철수|이영희|하늘 바다|ㅋㅋㅋ|김|이
    Bopomofo: ㄅㄆㄇ|ㄓㄨㄥ
    emoji: 🦀|👨‍👩‍👧‍👦|🏳️‍🌈|🏴‍☠️|👩🏽‍💻|🇺🇦|🏴󠁧󠁢󠁷󠁬󠁳󠁿|#️⃣|❤️‍🔥|🫱🏻‍🫲🏿|👁️‍🗨️|🧑🏾‍🦯‍➡️|☎️|🇨🇿|🇸🇰|👍|👍🏽|❤
    mixed: Ana 🌸|山田 Taro|Ёжик42|αβγ|naïve№1|Владимир VI|a·b
    punctuation: C|C++|a b|ab|a.b|a-b|user_42|user_43|alice|bob|carol
";

/// Characters that no name may contain at any position.
const FORBIDDEN: [(CharacterFault, &str); 4] = [
    (
        CharacterFault::Control,
        "\0\t\n\r\u{7}\u{8}\u{1B}\u{7F}\u{80}\u{85}\u{9B}\u{2028}\u{2029}",
    ),
    (
        CharacterFault::Direction,
        "\u{61C}\u{200E}\u{200F}\u{202A}\u{202B}\u{202C}\u{202D}\u{202E}\u{2066}\u{2067}\u{2068}\
         \u{2069}",
    ),
    (
        CharacterFault::Invisible,
        "\u{AD}\u{34F}\u{600}\u{115F}\u{1160}\u{17B4}\u{17B5}\u{180B}\u{180E}\u{180F}\u{200B}\
         \u{2060}\u{2061}\u{2062}\u{2063}\u{2064}\u{2065}\u{206A}\u{206F}\u{2800}\u{3164}\u{FE00}\
         \u{FE0D}\u{FEFF}\u{FFA0}\u{FFF0}\u{FFF9}\u{FFFB}\u{110BD}\u{13430}\u{13441}\u{1BCA0}\
         \u{1D159}\u{1D173}\u{E0000}\u{E0001}\u{E0100}\u{E01EF}",
    ),
    (
        CharacterFault::Meaningless,
        "\u{378}\u{E000}\u{F8FF}\u{FDD0}\u{FFFC}\u{FFFD}\u{FFFE}\u{FFFF}\u{50000}\u{F0000}\
         \u{10FFFF}",
    ),
];

fn parse_as(own: &str, requested: &str) -> Result<Username, NameError> {
    let own: SocketAddr = own.parse().expect("a valid address");
    Username::parse(requested, own)
}

fn parse(requested: &str) -> Result<Username, NameError> {
    parse_as(OWN, requested)
}

#[track_caller]
fn name(requested: &str) -> Username {
    parse(requested).unwrap_or_else(|error| panic!("{requested:?} was refused: {error}"))
}

#[track_caller]
fn collide(a: &str, b: &str) -> bool {
    // Also of texts that mix scripts, which a stored name or a typed one may.
    let key = |text: &str| match parse(text) {
        Err(NameError::MixedScripts) => UsernameKey::of_typed(text).expect(text),
        _ => name(text).key(),
    };
    key(a).collides_with(&key(b))
}

#[track_caller]
fn check(requested: &str, prepared: &str) {
    assert_eq!(name(requested).as_str(), prepared, "{requested:?}");
    assert_eq!(name(prepared).as_str(), prepared, "{requested:?} again");
}

#[track_caller]
fn check_refused(requested: &str, expected: &NameError) {
    assert_eq!(parse(requested).as_ref(), Err(expected), "{requested:?}");
}

/// Splits a table into keys and names.
fn rows(table: &'static str) -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    table.lines().filter(|row| !row.is_empty()).map(|row| {
        let (key, names) = row.trim_start().split_once(": ").expect(row);
        (key, names.split('|').collect())
    })
}

#[test]
fn names_have_their_verdict() {
    let mut wrong = Vec::new();
    for (key, names) in rows(VERDICTS) {
        let (verdict, _) = key.split_once(", ").expect(key);
        for requested in names {
            let result = parse(requested);
            let shown = format!("{result:?}");
            if !shown.contains(verdict) {
                wrong.push(format!("{requested:?} ({key}): {shown}"));
            } else if let Ok(name) = result {
                check(name.as_str(), requested);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    check_refused("|0.0.0.1:80", &NameError::LooksLikeAddress);
}

#[test]
fn preparation_follows_rfc_8266() {
    for (requested, prepared) in [
        ("  alice  ", "alice"),
        ("a   b", "a b"),
        ("\u{A0}a\u{A0}\u{3000}\u{2003} b\u{202F}", "a b"),
        ("Ｆｕｌｌ　Ｗｉｄｔｈ", "Full Width"),
        ("ﬁne x² Ǆ", "fine x2 DŽ"),
        ("Jose\u{301}", "Jos\u{E9}"),
        ("ｶﾞ", "ガ"),
        ("a¨b", "a \u{308}b"),
        // NFKC decomposes sara am.
        ("น้ำใจ", "น้ํ\u{E32}ใจ"),
        // Emoji that become letters lose their selector.
        ("™️ ℹ️ ‼️", "TM i !!"),
        ("㊗️㊙️🈂️", "祝秘サ"),
        ("Ⓜ️Ⓜ️❤️", "MM❤️"),
        // The nukta stands between virama and joiner.
        ("न\u{94D}\u{93C}\u{200D}ष", "ऩ\u{94D}\u{200D}ष"),
    ] {
        check(requested, prepared);
    }
}

#[test]
fn names_are_limited_in_graphemes_and_bytes() {
    check(&format!("  {}  ", "x".repeat(32)), &"x".repeat(32));
    check_refused(&"x".repeat(33), &NameError::TooLong(33));
    let families = "👨‍👩‍👧".repeat(28);
    check(&families, &families);
    check_refused(&"👨‍👩‍👧".repeat(29), &NameError::TooManyBytes(522));
    // One grapheme cluster of any length.
    check(&"ᄀ".repeat(170), &"ᄀ".repeat(170));
    check_refused(&"ᄀ".repeat(171), &NameError::TooManyBytes(513));
    // NFKC expands U+FDFA to eighteen characters.
    check_refused("ﷺﷺ", &NameError::TooLong(36));
    // A longer request is refused unread.
    check(&format!("x{}", " ".repeat(2047)), "x");
    let escapes = "\u{1B}".repeat(2049);
    check_refused(&escapes, &NameError::TooManyBytes(2049));
}

#[test]
fn unnamed_client_is_its_address() {
    for (address, expected) in [
        ("127.0.0.1:57354", "127.0.0.1:57354"),
        ("[2001:DB8:0:0::1]:5555", "[2001:db8::1]:5555"),
        ("[::ffff:127.0.0.1]:57354", "127.0.0.1:57354"),
        ("[fe80::1%3]:1", "[fe80::1]:1"),
    ] {
        let name = Username::from_address(address.parse().expect("a valid address"));
        assert_eq!(name.as_str(), expected);
    }
}

#[test]
fn own_address_is_accepted_in_any_spelling() {
    let check = |own: &str, requested: &str, expected: &str| {
        let name = parse_as(own, requested).expect(requested);
        assert_eq!(name.as_str(), expected, "{requested:?}");
    };
    let spellings = "127.0.0.1:57354|  127.0.0.1:57354 |[127.0.0.1]:57354|127。0。0。1:57354|\
                     １２７．０．０．１：５７３５４|١٢٧.٠.٠.١:٥٧٣٥٤|[::ffff:127.0.0.1]:57354|127.0.0.1:057354";
    for requested in spellings.split('|') {
        check(OWN, requested, OWN);
        check("[::ffff:127.0.0.1]:57354", requested, OWN);
    }
    check("[::1]:80", "[0000:0::00001]:80", "[::1]:80");
    let long = "[2001:db8:1111:2222:3333:4444:5555:6666]:57354";
    check(long, long, long);
    check_refused(long, &NameError::TooLong(46));
}

#[test]
fn digits_of_every_script_have_their_value() {
    let is_digit = |character: &char| category(*character) == GeneralCategory::DecimalNumber;
    for (index, digit) in ('\0'..=char::MAX).filter(is_digit).enumerate() {
        let own = format!("1{}.0.0.1:80", index % 10);
        let name = parse_as(&own, &format!("1{digit}.0.0.1:80"));
        assert_eq!(name.as_ref().map(Username::as_str), Ok(&*own), "{digit:?}");
    }
}

#[test]
fn forbidden_characters_are_refused_at_every_position() {
    for (fault, characters) in FORBIDDEN {
        for character in characters.chars() {
            let expected = NameError::ForbiddenCharacter(character, fault);
            for requested in ["alice", OWN, ""] {
                for attack in insertions(requested, character) {
                    check_refused(&attack, &expected);
                }
            }
        }
    }
}

#[test]
fn every_emoji_is_a_name() {
    let is_sign =
        |emoji: &str| emoji.starts_with(['*', '✳']) || emoji.contains(|c| CHECK_MARKS.contains(c));
    for emoji in emojis::iter().filter(|emoji| !is_sign(emoji.as_str())) {
        let prepared = name(emoji.as_str());
        check(prepared.as_str(), prepared.as_str());
        name(&format!("{emoji}x{emoji}"));
    }
}

#[test]
fn look_alikes_of_a_taken_name_collide() {
    for group in LOOK_ALIKES.split(';') {
        let mut names = group.trim_start().split('|');
        let taken = names.next().unwrap_or_default();
        for requested in names {
            assert!(collide(taken, requested), "{taken:?} and {requested:?}");
        }
    }
    assert!(collide("alice", "a|ice"));
}

#[test]
fn key_ignores_invisible_characters() {
    for hidden in "\u{200B}\u{34F}\u{FE0F}\u{2060}\u{E0100}\u{AD}\u{3164}".chars() {
        let text = format!("{hidden}a{hidden}b{hidden}");
        assert_eq!(skeleton::key(&text), skeleton::key("ab"));
    }
}

#[test]
fn names_of_one_script_are_accepted_and_do_not_collide() {
    for (script, names) in rows(SCRIPTS) {
        for (index, requested) in names.iter().enumerate() {
            check(name(requested).as_str(), name(requested).as_str());
            for other in &names[..index] {
                assert!(!collide(requested, other), "{script}: {requested}, {other}");
            }
        }
    }
}

#[test]
fn forms_of_a_name_collide_with_it_in_every_script() {
    for requested in all_names() {
        for form in [
            requested.nfc().collect(),
            requested.nfd().collect(),
            requested.nfkc().collect(),
            requested.nfkd().collect(),
            requested.to_uppercase(),
            requested.to_lowercase(),
        ] {
            assert!(collide(requested, &form), "{requested:?} and {form:?}");
        }
    }
}

#[test]
fn attacks_on_names_of_every_script_fail() {
    let endings = ": |：|： x| >| (Рrіvаtе)| has left the chat| renamed to";
    let marks = "\u{301}\u{336}\u{489}\u{E31}\u{64B}\u{20DD}".chars();
    let marks = marks.map(|mark| mark.to_string().repeat(5));
    let endings: Vec<String> = endings.split('|').map(str::to_owned).chain(marks).collect();
    let mut forbidden = FORBIDDEN.iter().flat_map(|row| row.1.chars()).cycle();
    for requested in all_names() {
        for ending in &endings {
            assert!(
                parse(&format!("{requested}{ending}")).is_err(),
                "{requested:?}{ending}"
            );
        }
        // Each name gets another part of the list.
        for character in forbidden.by_ref().take(8) {
            for attack in insertions(requested, character) {
                assert!(parse(&attack).is_err(), "{attack:?}");
            }
        }
        for inserted in "\u{200C}\u{200D}\u{FE0E}\u{FE0F}\u{E0067}\u{E007F}".chars() {
            for attack in insertions(requested, inserted) {
                let is_refused = parse(&attack).is_err();
                assert!(is_refused || collide(requested, &attack), "{attack:?}");
            }
        }
    }
}

fn all_names() -> impl Iterator<Item = &'static str> {
    rows(SCRIPTS).flat_map(|(_, names)| names)
}

/// Returns the name with `inserted` at each position, both ends included.
fn insertions(name: &str, inserted: char) -> impl Iterator<Item = String> {
    let positions = name.char_indices().map(|(position, _)| position);
    positions.chain([name.len()]).map(move |position| {
        let (before, after) = name.split_at(position);
        format!("{before}{inserted}{after}")
    })
}

/// A name is visible, one line, and stable under another preparation; its key is stable too.
fn check_characters(characters: impl Iterator<Item = char>) -> usize {
    let mut accepted = 0;
    for character in characters {
        let text = character.to_string();
        let key = skeleton::key(&text);
        let again = skeleton::fold_lookalikes(&key.folded_first);
        assert_eq!(again, *key.folded_first, "{text:?}");
        let again = skeleton::fold_case(&key.folded_last);
        assert_eq!(again, *key.folded_last, "{text:?}");
        let Ok(name) = parse(&text) else { continue };
        accepted += 1;
        assert_eq!(parse(name.as_str()).as_ref(), Ok(&name), "{text:?}");
        assert!(!name.as_str().contains(char::is_control), "{text:?}");
        assert!(!name.key().folded_first.is_empty(), "{text:?}");
    }
    accepted
}

/// Returns whether case folding, normalization or look-alike folding changes a character.
fn is_folded(character: char) -> bool {
    let alone = std::iter::once(character);
    !alone.clone().nfkc().eq(alone.clone()) || !character.to_lowercase().eq(alone)
}

#[test]
fn sampled_characters_are_refused_or_stable() {
    let sample = ('\0'..='\u{5FF}').chain(('\u{600}'..='\u{E01FF}').step_by(61));
    let folded = ('\u{600}'..='\u{1FFFF}').filter(|c| is_folded(*c));
    assert!(check_characters(sample.chain(folded.step_by(5))) > 2_000);
}

#[test]
#[ignore = "checks every character of Unicode, which takes a minute"]
fn all_of_unicode_is_refused_or_stable() {
    assert!(check_characters('\0'..=char::MAX) > 29_000);
}

#[test]
fn sentences_name_the_fault_and_the_remedy() {
    for (requested, sentence) in [
        ("", "The name is empty; choose one of 1 to 32 characters"),
        (
            &*"x".repeat(33),
            "The name has 33 characters; choose one of at most 32",
        ),
        (
            &*"x".repeat(5000),
            "The name has 5000 bytes; choose one of at most 512",
        ),
        (
            "a\u{202E}b",
            "The name contains U+202E, which changes the writing direction; leave it out",
        ),
        (
            "bob renamed to eve",
            "The name reads like the server's notice \"renamed to\"; choose another",
        ),
    ] {
        let error = parse(requested).expect_err(requested);
        assert_eq!(error.to_string(), sentence);
    }
}
